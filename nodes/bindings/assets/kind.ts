/** `env.ASSETS`, as the agent plugs it in: the version's own files and no others. */
import { createHash } from 'node:crypto';
import type { ServedAssets } from '#shared/contracts/assets.ts';
import { parseVersionId } from '#shared/ids.ts';
import type { Address } from '#shared/contracts/address.ts';
import { ASSETS_SOCKET } from '../../slots/sockets.ts';
import { threadModule, type BindingKind } from '../kind.ts';

export interface AssetsTarget {
  readonly account: string;
  /** Names the manifest with its configuration. */
  readonly key: string;
  readonly served: ServedAssets;
}

export interface AssetsData {
  readonly folder: string;
  readonly controlAddress: Address;
}

export function assetBindings(data: AssetsData): BindingKind {
  return {
    name: 'assets',
    thread: threadModule('./assets/main.node'),
    data,
    socketsOf: ({ id, assetsBinding }) => {
      if (assetsBinding === undefined) return [];
      const { served } = assetsBinding;
      const key = createHash('sha256').update(JSON.stringify(served)).digest('base64url');
      const target: AssetsTarget = { account: parseVersionId(id).account, key, served };
      return [{ file: ASSETS_SOCKET, target }];
    },
    stateOf: () => undefined,
  };
}
