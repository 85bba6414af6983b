/** Looks up what grants.ts judges. */
import { functionConfigSchema, type FunctionConfig } from '#shared/contracts/config.ts';
import type { FunctionName } from '#shared/ids.ts';
import type { Orm } from '../db/database.ts';
import type { FunctionRef } from '../db/functions.ts';
import { secretsOfAccounts } from '../db/secrets.ts';
import { findThings } from './bindings.ts';
import { grantProblem } from './grants.ts';

/**
 * @param limitedTo - functions that the calling key is limited to; undefined: it is not, or gives nothing new.
 * @throws {PlatformError} `secret_not_found` or `forbidden`, with every place.
 */
export async function requireGrants(
  orm: Orm,
  ref: FunctionRef,
  config: FunctionConfig,
  limitedTo?: readonly FunctionName[],
): Promise<void> {
  const secrets = await secretsOfAccounts(orm, [ref]);
  // A stored version of an earlier release lacks what was added since.
  const whole = functionConfigSchema.parse(config);
  const problem = grantProblem({
    functionName: ref.functionName,
    config: whole,
    secrets: secrets(ref),
    things: await findThings(orm, ref.account, whole),
    limitedTo,
  });
  if (problem !== undefined) throw problem;
}
