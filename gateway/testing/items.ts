/** Builders of feed items that show only what a test is about. */
import type { z } from 'zod';
import {
  limitsSchema,
  scalingSchema,
  type Auth,
  type AuthByPath,
  type FunctionLimits,
  type Scaling,
} from '#shared/contracts/config.ts';
import type { ServedAssets } from '#shared/contracts/assets.ts';
import { corsSchema } from '#shared/contracts/cors.ts';
import type { FeedItem, KeyItem, RouteItem } from '#shared/contracts/feed.ts';
import { FeedState } from '#shared/feed/state.ts';
import { accountNameSchema, aliasNameSchema, functionNameSchema, versionId } from '#shared/ids.ts';

export interface FunctionParts {
  readonly account?: string;
  readonly enabled?: boolean;
  readonly auth?: Auth;
  readonly authByPath?: AuthByPath;
  readonly cors?: z.input<typeof corsSchema>;
  readonly defaultHost?: boolean;
  readonly limits?: Partial<FunctionLimits>;
  readonly scaling?: Partial<Scaling>;
  readonly version?: number;
  readonly assets?: ServedAssets;
  readonly aliases?: Record<string, { version: number; weight: number }[]>;
}

/** A function with one version behind `live`, public unless told otherwise. */
export function functionItems(name: string, parts: FunctionParts = {}): FeedItem[] {
  const { account = 'default', version = 1 } = parts;
  const aliases = parts.aliases ?? { live: [{ version, weight: 100 }] };
  const numbers = new Set(Object.values(aliases).flatMap((weights) => weights.map((entry) => entry.version)));
  return [
    {
      kind: 'function',
      key: `${account}/${name}`,
      value: {
        account: accountNameSchema.parse(account),
        name: functionNameSchema.parse(name),
        enabled: parts.enabled ?? true,
        aliases,
      },
    },
    ...[...numbers].map((number): FeedItem => {
      const id = versionId(account, name, number);
      return {
        kind: 'version',
        key: id,
        value: {
          id,
          style: 'module',
          auth: parts.auth ?? { mode: 'public' },
          authByPath: parts.authByPath ?? [],
          ...(parts.cors === undefined ? {} : { cors: corsSchema.parse(parts.cors) }),
          defaultHost: parts.defaultHost ?? true,
          limits: limitsSchema.parse(parts.limits ?? {}),
          scaling: scalingSchema.parse(parts.scaling ?? {}),
          ...(parts.assets === undefined ? {} : { assets: parts.assets }),
        },
      };
    }),
  ];
}

export function routeItem(
  id: string,
  parts: { host: string; path: string; function: string; account?: string; alias?: string },
): FeedItem {
  const value: RouteItem = {
    id,
    account: accountNameSchema.parse(parts.account ?? 'default'),
    host: parts.host,
    path: parts.path,
    functionName: functionNameSchema.parse(parts.function),
    alias: aliasNameSchema.parse(parts.alias ?? 'live'),
  };
  return { kind: 'route', key: id, value };
}

export function keyItem(value: Omit<KeyItem, 'account' | 'role'> & { account?: string }): FeedItem {
  return {
    kind: 'key',
    key: value.id,
    value: { role: 'invoker', ...value, account: accountNameSchema.parse(value.account ?? 'default') },
  };
}

export function stateOf(items: readonly FeedItem[]): FeedState {
  const state = new FeedState();
  state.apply({ type: 'snapshot', epoch: 'test', revision: 1, items: [...items] });
  return state;
}
