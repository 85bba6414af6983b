/** Every kind of thing that instances reach. A new one is a folder and an entry here. */
import { egressKind, type EgressSettings } from './egress/kind.ts';
import { assetBindings, type AssetsData } from './assets/kind.ts';
import { cacheBindings } from './cache/kind.ts';
import type { AttachmentKind } from './kind.ts';
import { kvBindings, type KvData } from './kv/kind.ts';
import { rateLimitBindings } from './rate-limits/kind.ts';
import { serviceBindings, type ServicesData } from './services/kind.ts';

export interface KindSettings {
  readonly egress: EgressSettings;
  readonly services: ServicesData;
  readonly kv: KvData;
  readonly assets: AssetsData;
}

export const attachmentKinds = ({
  egress,
  services,
  kv,
  assets,
}: KindSettings): readonly AttachmentKind[] => [
  egressKind(egress),
  cacheBindings(),
  serviceBindings(services),
  kvBindings(kv),
  rateLimitBindings(),
  assetBindings(assets),
];
