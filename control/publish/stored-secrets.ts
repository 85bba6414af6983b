/** Seals what releases before this one stored in plain. Harmless when there is nothing left to do. */
import { and, eq, like } from 'drizzle-orm';
import { versionId } from '#shared/ids.ts';
import type { KeyEncryptionKey } from '#shared/seal.ts';
import type { Database } from '../db/database.ts';
import { accounts, versions } from '../db/schema.ts';
import { sealConfig, sealJwks } from './jwks.ts';

/** Part of the JSON text of an `oct` key whose secret stands beside it in plain. */
const PLAIN = '%"k":"%';

export async function sealStoredSecrets(db: Database, kek: KeyEncryptionKey): Promise<void> {
  const found = await db.read(async (orm) => ({
    versions: await orm.select().from(versions).where(like(versions.config, PLAIN)),
    accounts: await orm.select().from(accounts).where(like(accounts.issuer, PLAIN)),
  }));
  if (found.versions.length === 0 && found.accounts.length === 0) return;
  await db.write(async (tx) => {
    for (const { account, functionName, number, config } of found.versions) {
      const sealed = await sealConfig(kek, account, config);
      const row = and(
        eq(versions.account, account),
        eq(versions.functionName, functionName),
        eq(versions.number, number),
      );
      await tx.orm.update(versions).set({ config: sealed }).where(row);
      await tx.change('version', versionId(account, functionName, number));
    }
    for (const { name, issuer } of found.accounts) {
      if (issuer == null) continue;
      const jwks = await sealJwks(kek, name, issuer.jwks);
      await tx.orm
        .update(accounts)
        .set({ issuer: { ...issuer, jwks } })
        .where(eq(accounts.name, name));
      await tx.change('account', name);
    }
  });
}
