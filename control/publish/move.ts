/** Moves of an alias: a version may be served when it exists, and when all that it is given is still there. */
import type { DeploymentView } from '#shared/contracts/api.ts';
import { recordMove, requireVersions, type Move } from '../db/aliases.ts';
import type { WriteTx } from '../db/database.ts';
import type { FunctionRef } from '../db/functions.ts';
import { requireGrants } from './require-grants.ts';

/** @throws {PlatformError} `version_not_found`, or the code of what such a version lacks. */
export async function moveAlias(tx: WriteTx, ref: FunctionRef, move: Move): Promise<DeploymentView> {
  const versions = await requireVersions(tx.orm, ref, move.weights);
  // One that was not served may name a secret that was deleted since.
  for (const { config } of versions) await requireGrants(tx.orm, ref, config);
  return recordMove(tx, ref, move);
}
