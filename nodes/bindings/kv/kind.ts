/** KV bindings, as the agent plugs them in. */
import { kvSocket } from '../../slots/sockets.ts';
import { threadModule, type BindingKind } from '../kind.ts';

export interface KvTarget {
  readonly namespaceId: string;
}

export interface KvData {
  readonly url: string;
  readonly authToken: string | undefined;
  readonly bytesMax: number;
}

export const KV = 'kv';

export function kvBindings(data: KvData): BindingKind {
  return {
    name: KV,
    thread: threadModule('./kv/main.node'),
    data,
    socketsOf: (runnable) =>
      runnable.kv.map(({ namespaceId }, index) => ({
        file: kvSocket(index),
        target: { namespaceId } satisfies KvTarget,
      })),
    stateOf: () => undefined,
  };
}
