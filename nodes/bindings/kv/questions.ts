/** What the agent asks the KV thread on behalf of the control plane: an operator looks at, or changes, values. */
import type { KvKeys } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { cursorOf, keyBytes, KV_LIMITS, listRequestOf } from './rules.ts';
import type { Quotas } from './quota.ts';
import type { KvStore } from './store.node.ts';

export type KvQuestion =
  | { readonly kind: 'get' | 'remove'; readonly namespaceId: string; readonly key: string }
  | {
      readonly kind: 'put';
      readonly namespaceId: string;
      readonly account: string;
      readonly key: string;
      readonly value: Uint8Array;
      readonly ttlSeconds: number | undefined;
    }
  | { readonly kind: 'list'; readonly namespaceId: string; readonly query: string }
  | { readonly kind: 'drop'; readonly namespaceId: string };

/** @returns for `get` the value or undefined; for `list` {@link KvKeys}. */
export async function answerKv(
  { store, quotas }: { readonly store: KvStore; readonly quotas: Quotas },
  question: unknown,
  nowSeconds: number,
): Promise<unknown> {
  const asked = question as KvQuestion;
  switch (asked.kind) {
    case 'get':
      return (await store.get(asked.namespaceId, keyBytes(asked.key)))?.value;
    case 'remove':
      return store.delete(asked.namespaceId, keyBytes(asked.key));
    case 'put':
      if (asked.value.byteLength > KV_LIMITS.valueBytesMax)
        throw new PlatformError('kv_value_too_large', 'a KV value is too large');
      return store.put(
        asked.namespaceId,
        keyBytes(asked.key),
        {
          value: asked.value,
          metadata: undefined,
          expires: asked.ttlSeconds === undefined ? undefined : nowSeconds + asked.ttlSeconds,
        },
        quotas.of(asked.account),
      );
    case 'list': {
      const { keys, complete } = await store.list(
        asked.namespaceId,
        listRequestOf(new URLSearchParams(asked.query)),
      );
      const last = keys.at(-1);
      return {
        keys: keys.map(({ key, expires }) => ({
          name: Buffer.from(key).toString('utf8'),
          ...(expires === undefined ? {} : { expiresAtMs: expires * 1_000 }),
        })),
        ...(complete || last === undefined ? {} : { cursor: cursorOf(last.key) }),
      } satisfies KvKeys;
    }
    case 'drop':
      return store.drop(asked.namespaceId);
  }
}
