/** Feed values from rows. Pure: shape only, no look-ups. */
import type { ResolvedBinding } from '#shared/contracts/bindings.ts';
import { functionConfigSchema, type Tier } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import type {
  AccountItem,
  FunctionItem,
  KeyItem,
  PlacementItem,
  RouteItem,
  Runnable,
  SecretItem,
  VersionItem,
} from '#shared/contracts/feed.ts';
import type { ModuleRef } from '#shared/contracts/modules.ts';
import { versionId } from '#shared/ids.ts';
import { servedAssets } from '../assets/plan.ts';
import { resolvedBindings } from '../publish/bindings.ts';
import type { KnownSecrets } from '../db/secrets.ts';
import { sealedBindings } from '../publish/secrets-in-env.ts';
import type { accounts, aliases, functions, keys, routes, secrets, versions } from '../db/schema.ts';

type AliasRow = typeof aliases.$inferSelect;
type VersionRow = typeof versions.$inferSelect;

export function accountItem(row: typeof accounts.$inferSelect): AccountItem {
  return {
    name: row.name,
    ...(row.issuer == null ? {} : { issuer: row.issuer }),
    ...(row.ceilings == null ? {} : { ceilings: row.ceilings }),
  };
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
  const config = functionConfigSchema.parse(row.config);
  const { style, auth, authByPath, cors, defaultHost, limits, scaling } = config;
  const assets = servedAssets(row.assets, config, row.main !== '');
  return {
    id: versionId(row.account, row.functionName, row.number),
    style,
    auth,
    authByPath,
    ...(cors === undefined ? {} : { cors }),
    defaultHost,
    limits,
    scaling,
    ...(assets === undefined ? {} : { assets }),
  };
}

export function runnableItem(
  row: Pick<
    VersionRow,
    'account' | 'functionName' | 'number' | 'main' | 'config' | 'assets' | 'createdAt'
  > & { readonly modules: readonly ModuleRef[]; readonly bindings: readonly ResolvedBinding[] },
  known: KnownSecrets,
  /** Least tier that the account's functions run in. */
  tierMin: Tier = 'standard',
): Runnable {
  // Versions stored by an earlier release lack what was added since: the schema fills it in.
  const config = functionConfigSchema.parse(row.config);
  const { style, compatibilityDate, compatibilityFlags, vars, limits, scaling } = config;
  return {
    id: versionId(row.account, row.functionName, row.number),
    style,
    main: row.main,
    modules: [...row.modules],
    compatibilityDate,
    compatibilityFlags,
    vars,
    limits,
    scaling,
    egress: egressRulesOf(config),
    bindings: resolvedBindings({ ...row, config }),
    ...(config.versionMetadata === undefined
      ? {}
      : {
          versionMetadata: { ...config.versionMetadata, timestamp: new Date(row.createdAt).toISOString() },
        }),
    secrets: sealedBindings({ ...row, config }, known),
    entrypoints: config.entrypoints,
    hooks: config.hooks,
    tier: tierMin === 'strict' ? 'strict' : config.tier,
  };
}

/** A version of static assets alone is served by gateways: nothing of it ever starts. */
export function hasCode(row: Pick<VersionRow, 'main'>): boolean {
  return row.main !== '';
}

export function placementItem(
  row: typeof functions.$inferSelect,
  pointing: readonly AliasRow[],
  live: readonly VersionRow[],
): PlacementItem {
  return {
    account: row.account,
    name: row.name,
    enabled: row.enabled,
    aliases: pointing.map(({ name, weights, provision }) => ({
      name,
      weights,
      ...(provision == null ? {} : { provision }),
    })),
    versions: live.filter(hasCode).map((version) => ({
      id: versionId(version.account, version.functionName, version.number),
      scaling: functionConfigSchema.parse(version.config).scaling,
    })),
  };
}

export function secretItem(row: typeof secrets.$inferSelect): SecretItem {
  return { account: row.account, name: row.name, sealed: row.sealed };
}

export function routeItem(row: typeof routes.$inferSelect): RouteItem {
  const { id, account, host, path, functionName, alias } = row;
  return { id, account, host, path, functionName, alias };
}

/** Bearer tokens, and keys that only observe, open the control API alone, so gateways never hear of them: undefined. */
export function keyItem(row: typeof keys.$inferSelect): KeyItem | undefined {
  if (row.algorithm === 'token' || row.role === 'observer') return undefined;
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
