/** `caches` of functions, as the agent plugs it in: each instance has one socket, whatever its code asks. */
import { parseVersionId } from '#shared/ids.ts';
import { CACHE_SOCKET } from '../../slots/sockets.ts';
import { threadModule, type AttachmentKind } from '../kind.ts';

export interface CacheTarget {
  /** Whose share its entries are taken from. */
  readonly account: string;
  /** A version sees what it has put itself: a deploy begins with an empty cache. */
  readonly versionId: string;
}

const CACHE = 'cache';

export function cacheBindings(): AttachmentKind {
  return {
    name: CACHE,
    thread: threadModule('./cache/main'),
    data: {},
    always: {
      file: CACHE_SOCKET,
      target: ({ id }): CacheTarget => ({ account: parseVersionId(id).account, versionId: id }),
    },
    // A version that is served no more takes its entries with it.
    stateOf: (item) =>
      item.kind === 'runnable' ? { key: item.key, value: item.value === null ? undefined : true } : undefined,
  };
}
