/** `env.ASSETS`, as the agent plugs it in: the version's own files and no others. */
import { createHash } from 'node:crypto';
import { servedAssetsSchema, type ServedAssets } from '#shared/contracts/assets.ts';
import { parseVersionId } from '#shared/ids.ts';
import type { Address } from '#shared/contracts/address.ts';
import { threadModule, type AttachmentKind } from '../kind.ts';

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

export function assetBindings(data: AssetsData): AttachmentKind {
  return {
    name: 'assets',
    thread: threadModule('./assets/main'),
    data,
    bound: {
      declare: ({ name }, { service, socketName }) => ({
        service: { name: service, kind: 'external', style: 'host', socketName },
        binding: { name, kind: 'service', service },
      }),
      target: ({ terms }, { id }): AssetsTarget => {
        const served = servedAssetsSchema.parse(terms);
        const key = createHash('sha256').update(JSON.stringify(served)).digest('base64url');
        return { account: parseVersionId(id).account, key, served };
      },
    },
    stateOf: () => undefined,
  };
}
