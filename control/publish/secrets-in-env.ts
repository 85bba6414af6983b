/** Which secrets are members of a version's `env`. */
import { functionConfigSchema, type FunctionConfig } from '#shared/contracts/config.ts';
import {
  bindingOfSecret,
  functionSecretContext,
  secretContext,
  type SealedBinding,
} from '#shared/contracts/secrets.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Orm } from '../db/database.ts';
import { liveVersions } from '../db/live.ts';
import { mayBind, type FunctionSecretRef, type KnownSecrets } from '../db/secrets.ts';
import type { VersionRow } from '../db/versions.ts';
import { envNames } from './env-names.ts';

/** Pure. A function's own secrets, and those that it binds from its account; of one name its own. */
export function sealedBindings(
  { account, functionName, config }: Pick<VersionRow, 'account' | 'functionName' | 'config'>,
  known: KnownSecrets,
): SealedBinding[] {
  const taken = namesInEnv(config);
  const bound = new Map<string, SealedBinding>();
  for (const entry of config.secrets ?? []) {
    const { binding, secret } = bindingOfSecret(entry);
    const row = known.account.find(({ name }) => name === secret);
    if (row !== undefined && mayBind(row, functionName))
      bound.set(binding, { binding, context: secretContext(account, row.name), sealed: row.sealed });
  }
  for (const { name, sealed } of known.own)
    // An older version may have a variable of that name; it was published as it is.
    if (!taken.has(name))
      bound.set(name, { binding: name, context: functionSecretContext(account, functionName, name), sealed });
  return [...bound.values()];
}

/** @throws {PlatformError} `name_taken` when a served version has something else of that name. */
export async function requireFreeName(orm: Orm, ref: FunctionSecretRef): Promise<void> {
  const live = await liveVersions(orm, ref.account, ref.functionName);
  const holder = live.find(({ config }) => namesInEnv(config).has(ref.name));
  if (holder === undefined) return;
  throw new PlatformError('name_taken', `${ref.name} is in env of version ${holder.number}`, {
    publicDetail: `Version ${holder.number} of ${ref.functionName} has a variable or binding ${ref.name}: remove it there first.`,
  });
}

/** Rows of an earlier release may lack members that were added since. */
function namesInEnv(config: FunctionConfig): ReadonlySet<string> {
  return new Set(envNames(functionConfigSchema.parse(config)).map(({ name }) => name));
}
