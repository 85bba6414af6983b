/**
 * What a publish asks of each kind of binding: which members of `env` it gives, which things of the account it
 * names, and what nodes are told. A new kind is an entry here and a field of the configuration.
 */
import type { ResolvedBinding } from '#shared/contracts/bindings.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { ErrorCode } from '#shared/errors.ts';
import type { AccountName, FunctionName } from '#shared/ids.ts';
import { servedAssets } from '../assets/plan.ts';
import type { Orm } from '../db/database.ts';
import { findKvNamespaces } from '../db/kv.ts';
import type { VersionAssets } from '../db/schema.ts';

export interface EnvName {
  /** Where in the configuration it is given. */
  readonly path: string;
  readonly name: string;
}

/** An entry of the configuration that leads to a thing of the account. */
interface NamedThing {
  readonly path: string;
  /** Name in `env`. */
  readonly name: string;
  /** For messages, as `KV namespace links`. */
  readonly what: string;
  /** The command that says which functions may be bound to it, up to its `--for-function`. */
  readonly grant: string;
  /** Undefined: the account has no such thing. */
  readonly id: string | undefined;
  /** That may be bound to it; null: every one of the account. */
  readonly functions: readonly FunctionName[] | null;
}

/** What is stored of a version. */
export interface StoredVersion {
  readonly functionName: FunctionName;
  readonly config: FunctionConfig;
  /** Things that were looked up when it was published. */
  readonly bindings: readonly ResolvedBinding[];
  readonly assets: VersionAssets | null;
}

export interface PublishedKind {
  readonly kind: string;
  names(config: FunctionConfig): readonly EnvName[];
  /** Absent: its entries lead to nothing that must be there. */
  readonly things?: {
    find(orm: Orm, account: AccountName, config: FunctionConfig): Promise<readonly NamedThing[]>;
    readonly missing: ErrorCode;
  };
  /** Functions that it calls: a key that is limited to functions binds no others. */
  calls?(config: FunctionConfig): readonly { readonly path: string; readonly functionName: FunctionName }[];
  /** For nodes. */
  resolved(version: StoredVersion): readonly ResolvedBinding[];
}

const service: PublishedKind = {
  kind: 'service',
  names: ({ services }) =>
    services.map(({ binding }, index) => ({ path: `config.services.${index}.binding`, name: binding })),
  calls: ({ services }) =>
    services.map((entry, index) => ({ path: `config.services.${index}`, functionName: entry.function })),
  // Followed at each call: what is not there yet may come.
  resolved: ({ config: { services } }) =>
    services.map(({ binding, ...terms }) => ({
      kind: 'service',
      name: binding,
      id: `${terms.function}@${terms.alias}`,
      terms,
    })),
};

const kv: PublishedKind = {
  kind: 'kv',
  names: (config) =>
    config.kv.map(({ binding }, index) => ({ path: `config.kv.${index}.binding`, name: binding })),
  things: {
    find: async (orm, account, config) => {
      const rows = await findKvNamespaces(
        orm,
        account,
        config.kv.map(({ namespace }) => namespace),
      );
      return config.kv.map(({ binding, namespace }, index) => {
        const row = rows.find(({ name }) => name === namespace);
        return {
          path: `config.kv.${index}`,
          name: binding,
          what: `KV namespace ${namespace}`,
          grant: `isoplane kv grant ${namespace}`,
          id: row?.id,
          functions: row?.functions ?? null,
        };
      });
    },
    missing: 'namespace_not_found',
  },
  resolved: storedOf('kv'),
};

const rateLimit: PublishedKind = {
  kind: 'rate-limit',
  names: ({ rateLimits }) =>
    rateLimits.map(({ binding }, index) => ({ path: `config.rateLimits.${index}.binding`, name: binding })),
  resolved: ({ functionName, config: { rateLimits } }) =>
    rateLimits.map(({ binding, namespace, ...terms }) => ({
      kind: 'rate-limit',
      name: binding,
      // No namespace that can be given has a dot.
      id: namespace ?? `${functionName}.${binding}`,
      terms,
    })),
};

const assets: PublishedKind = {
  kind: 'assets',
  names: (config) =>
    config.assets?.binding === undefined
      ? []
      : [{ path: 'config.assets.binding', name: config.assets.binding }],
  resolved: ({ config, assets: stored }) => {
    const name = config.assets?.binding;
    const served = servedAssets(stored, config, true);
    return name === undefined || served === undefined
      ? []
      : [{ kind: 'assets', name, id: served.manifest, terms: { ...served } }];
  },
};

/** In the order in which nodes are told of their bindings. */
export const PUBLISHED_KINDS: PublishedKind[] = [service, kv, rateLimit, assets];

/** Of a kind whose things are looked up once, when the version is published. */
export function storedOf(kind: string): PublishedKind['resolved'] {
  return ({ bindings }) => bindings.filter((binding) => binding.kind === kind);
}

export function resolvedBindings(version: StoredVersion): ResolvedBinding[] {
  return PUBLISHED_KINDS.flatMap((kind) => kind.resolved(version));
}

/** Things that a configuration names, by kind. */
export type NamedThings = readonly { readonly kind: PublishedKind; readonly things: readonly NamedThing[] }[];

/** Looks up what a configuration names. */
export async function findThings(
  orm: Orm,
  account: AccountName,
  config: FunctionConfig,
): Promise<NamedThings> {
  const found: { kind: PublishedKind; things: readonly NamedThing[] }[] = [];
  for (const kind of PUBLISHED_KINDS)
    if (kind.things !== undefined) found.push({ kind, things: await kind.things.find(orm, account, config) });
  return found;
}
