/** Feed values from rows. Pure: shape only, no look-ups. */
import type {
  AccountItem,
  FunctionItem,
  KeyItem,
  RouteItem,
  Runnable,
  VersionItem,
} from '#shared/contracts/feed.ts';
import { versionId } from '#shared/ids.ts';
import type { accounts, aliases, functions, keys, routes, versions } from '../db/schema.ts';

type AliasRow = typeof aliases.$inferSelect;
type VersionRow = typeof versions.$inferSelect;

export function accountItem(row: typeof accounts.$inferSelect): AccountItem {
  return { name: row.name, ...(row.issuer == null ? {} : { issuer: row.issuer }) };
}

export function functionItem(
  row: typeof functions.$inferSelect,
  pointing: readonly AliasRow[],
): FunctionItem {
  return {
    account: row.account,
    name: row.name,
    enabled: row.enabled,
    aliases: Object.fromEntries(pointing.map((alias) => [alias.name, alias.weights])),
  };
}

export function versionItem(row: VersionRow): VersionItem {
  const { style, auth, limits, scaling } = row.config;
  return { id: versionId(row.account, row.functionName, row.number), style, auth, limits, scaling };
}

export function runnableItem(row: VersionRow): Runnable {
  const { style, compatibilityDate, compatibilityFlags, vars, limits, scaling } = row.config;
  return {
    id: versionId(row.account, row.functionName, row.number),
    style,
    main: row.main,
    modules: row.modules,
    compatibilityDate,
    compatibilityFlags,
    vars,
    limits,
    scaling,
  };
}

export function routeItem(row: typeof routes.$inferSelect): RouteItem {
  const { id, account, host, path, functionName, alias } = row;
  return { id, account, host, path, functionName, alias };
}

/** Bearer tokens open the control API only, so gateways never hear of them: undefined. */
export function keyItem(row: typeof keys.$inferSelect): KeyItem | undefined {
  if (row.algorithm === 'token') return undefined;
  return {
    id: row.id,
    account: row.account,
    role: row.role,
    ...(row.functions === null ? {} : { functions: row.functions }),
    material:
      row.algorithm === 'ed25519'
        ? { algorithm: 'ed25519', publicKey: row.material }
        : { algorithm: 'hmac-sha256', sealedSecret: row.material },
    ...(row.expiresAt === null ? {} : { expiresAtMs: row.expiresAt }),
  };
}

/** Ids of the versions that some alias gives a share. */
export function liveVersionIds(pointing: readonly AliasRow[]): ReadonlySet<string> {
  return new Set(
    pointing.flatMap((alias) =>
      alias.weights.map((entry) => versionId(alias.account, alias.functionName, entry.version)),
    ),
  );
}
