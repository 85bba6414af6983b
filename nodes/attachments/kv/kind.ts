/** KV bindings, as the agent plugs them in. */
import { parseVersionId } from '#shared/ids.ts';
import { threadModule, type AttachmentKind } from '../kind.ts';

export interface KvTarget {
  readonly namespaceId: string;
  /** Whose quota its puts count to. */
  readonly account: string;
}

export interface KvData {
  readonly url: string;
  readonly authToken: string | undefined;
  readonly bytesMax: number;
}

export function kvBindings(data: KvData): AttachmentKind {
  return {
    name: 'kv',
    thread: threadModule('./kv/main'),
    data,
    bound: {
      declare: ({ name }, { service, socketName }) => ({
        service: { name: service, kind: 'external', style: 'host', socketName },
        binding: { name, kind: 'kvNamespace', service },
      }),
      target: ({ id }, runnable): KvTarget => ({
        namespaceId: id,
        account: parseVersionId(runnable.id).account,
      }),
    },
    unavailable: 'kv_unavailable',
    stateOf: (item) =>
      item.kind === 'account' ? { key: item.key, value: item.value?.ceilings?.kvBytes } : undefined,
  };
}
