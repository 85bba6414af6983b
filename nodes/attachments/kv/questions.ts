/** What the agent asks the KV thread on behalf of the control plane: an operator looks at, or changes, values. */
import { KV_LIMITS, kvQuestionSchema, type KvKeys } from '#shared/contracts/kv.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Quotas } from './quota.ts';
import { cursorOf, keyBytes, listRequest, type ListRequest } from './rules.ts';
import type { KvStore } from './store.ts';

/** @throws {PlatformError} `kv_invalid` for what is no question; `not_found`; those of the store. */
export async function answerKv(
  { store, quotas }: { readonly store: KvStore; readonly quotas: Quotas },
  question: unknown,
  nowSeconds: number,
): Promise<Uint8Array | KvKeys | undefined> {
  const { data: asked, error } = kvQuestionSchema.safeParse(question);
  if (asked === undefined) throw new PlatformError('kv_invalid', 'no question about KV', { cause: error });
  const { namespaceId } = asked;
  switch (asked.ask) {
    case 'get': {
      const entry = await store.get(namespaceId, keyBytes(asked.key));
      if (entry === undefined)
        throw new PlatformError('not_found', 'no such key', { publicDetail: 'There is no such key.' });
      return entry.value;
    }
    case 'remove':
      await store.delete(namespaceId, keyBytes(asked.key));
      return undefined;
    case 'put': {
      const value = new Uint8Array(Buffer.from(asked.value, asked.encoding));
      if (value.byteLength > KV_LIMITS.valueBytesMax)
        throw new PlatformError('kv_value_too_large', 'a KV value is too large');
      const expires = asked.ttlSeconds === undefined ? undefined : nowSeconds + asked.ttlSeconds;
      const entry = { value, metadata: undefined, expires };
      await store.put(namespaceId, keyBytes(asked.key), entry, quotas.of(asked.account));
      return undefined;
    }
    case 'list':
      return keysOf(store, namespaceId, listRequest({ ...asked, cursor: asked.cursor ?? '' }));
    case 'drop':
      await store.drop(namespaceId);
      return undefined;
  }
}

async function keysOf(store: KvStore, namespaceId: string, request: ListRequest): Promise<KvKeys> {
  const { keys, complete } = await store.list(namespaceId, request);
  const last = keys.at(-1);
  return {
    keys: keys.map(({ key, expires }) => ({
      name: Buffer.from(key).toString('utf8'),
      ...(expires === undefined ? {} : { expiresAtMs: expires * 1_000 }),
    })),
    ...(complete || last === undefined ? {} : { cursor: cursorOf(last.key) }),
  };
}
