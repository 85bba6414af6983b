/** Instances that aliases keep ready. */
import { and, eq } from 'drizzle-orm';
import type { Provision } from '#shared/contracts/provision.ts';
import type { AliasName } from '#shared/ids.ts';
import { requireAlias } from './aliases.ts';
import type { WriteTx } from './database.ts';
import { aliasesOf, type FunctionRef } from './functions.ts';
import { aliases } from './schema.ts';

/** @throws {PlatformError} `alias_not_found`. */
export async function setProvision(
  tx: WriteTx,
  ref: FunctionRef,
  to: { readonly alias: AliasName; readonly provision: Provision | null; readonly actor: string },
): Promise<void> {
  await requireAlias(tx.orm, ref, to.alias);
  await tx.orm
    .update(aliases)
    .set({ provision: to.provision })
    .where(and(aliasesOf(ref), eq(aliases.name, to.alias)));
  await tx.change('function', `${ref.account}/${ref.functionName}`);
  await tx.audit({
    account: ref.account,
    actor: to.actor,
    action: to.provision === null ? 'alias.unprovision' : 'alias.provision',
    target: `${ref.functionName}@${to.alias}`,
    detail: { provision: to.provision },
  });
}
