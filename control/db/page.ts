/** Keyset pagination: a cursor is the sort key of the last item, opaque to clients. */
import { PlatformError } from '#shared/errors.ts';
import { fromBase64Url, toBase64Url } from '#shared/encoding.ts';

export interface PageRequest {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

export interface Page<T> {
  readonly items: T[];
  readonly nextCursor?: string;
}

export function readCursor(cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(fromBase64Url(cursor));
  } catch (thrown) {
    throw new PlatformError('bad_request', 'unreadable cursor', {
      cause: thrown,
      publicDetail: 'The cursor is not one that this API gave out.',
    });
  }
}

/** For lists by falling number. */
export function readNumberCursor(cursor: string | undefined): number {
  const text = readCursor(cursor);
  if (text === undefined) return Number.MAX_SAFE_INTEGER;
  const number = Number(text);
  if (Number.isSafeInteger(number)) return number;
  throw new PlatformError('bad_request', 'cursor is no number', {
    publicDetail: 'The cursor is not one that this API gave out.',
  });
}

/** @param rows - up to `limit + 1` of them: the extra one says that there is more. */
export function pageOf<R, T>(
  rows: readonly R[],
  limit: number,
  shape: { readonly item: (row: R) => T; readonly key: (row: R) => string | number },
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map((row) => shape.item(row)),
    ...(rows.length > limit && last !== undefined
      ? { nextCursor: toBase64Url(new TextEncoder().encode(String(shape.key(last)))) }
      : {}),
  };
}

export function instant(ms: number): string {
  return new Date(ms).toISOString();
}
