/**
 * How a file is answered: its type, in which coding, whole or in part, or not again (RFC 9110 sections 8, 13
 * and 14). Pure.
 */
import { lookup } from 'mrmime';
import type { AssetFile } from '../contracts/assets.ts';
import type { HeaderChange } from './site.ts';

export type Coding = 'identity' | 'br' | 'gzip';

/** Worth the time: text, and what is text under another name. */
const COMPRESSIBLE =
  /^(?:text\/|application\/(?:[\w.-]+\+)?(?:javascript|json|xml|wasm|manifest|rtf|x-sh)|image\/(?:svg|bmp|x-icon|vnd\.microsoft\.icon)|font\/(?:ttf|otf|collection)|application\/vnd\.ms-fontobject)/;
/** Below this a coding saves nothing. */
const COMPRESSED_BYTES_MIN = 512;

export function contentTypeOf(path: string): string | undefined {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const type = name.includes('.') ? lookup(name) : undefined;
  return type?.startsWith('text/') === true ? `${type}; charset=utf-8` : type;
}

export function isCompressible({ path, bytes }: AssetFile): boolean {
  return bytes >= COMPRESSED_BYTES_MIN && COMPRESSIBLE.test(contentTypeOf(path) ?? '');
}

/** The best that the client takes; of equal weight the smaller. */
export function codingOf(acceptEncoding: string | undefined): Coding {
  if (acceptEncoding === undefined || acceptEncoding === '') return 'identity';
  const weights = new Map<string, number>();
  for (const part of acceptEncoding.split(',', 20)) {
    const [name = '', ...parameters] = part.split(';');
    const q = parameters.map((parameter) => /^\s*q=([\d.]+)\s*$/i.exec(parameter)?.[1]).find(Boolean);
    weights.set(name.trim().toLowerCase(), q === undefined ? 1 : Number(q));
  }
  const any = weights.get('*') ?? 0;
  const br = weights.get('br') ?? any;
  const gzip = weights.get('gzip') ?? any;
  if (br > 0 && br >= gzip) return 'br';
  return gzip > 0 ? 'gzip' : 'identity';
}

const TAG_DIGITS = 32;

/** Strong: each coding is a representation of its own. */
export function tagOf(file: AssetFile, coding: Coding): string {
  const base = file.digest.slice(0, TAG_DIGITS);
  return coding === 'identity' ? `"${base}"` : `"${base}-${coding}"`;
}

/** The tag in `If-None-Match` that names this file in any coding: what the client has is not stale. */
export function matchedTag(
  file: AssetFile,
  coding: Coding,
  ifNoneMatch: string | undefined,
): string | undefined {
  if (ifNoneMatch === undefined) return undefined;
  const own = tagOf(file, coding);
  if (ifNoneMatch === own || ifNoneMatch.trim() === '*') return own;
  const base = file.digest.slice(0, TAG_DIGITS);
  if (!ifNoneMatch.includes(base)) return undefined;
  for (const candidate of ifNoneMatch.split(',')) {
    const tag = candidate.trim().replace(/^W\//, '');
    if (tag === `"${base}"` || tag === `"${base}-br"` || tag === `"${base}-gzip"`) return tag;
  }
  return undefined;
}

/** Whether `If-Match` lets a request go on. Tags are compared strongly: a weak one names no bytes. */
export function isMatched(file: AssetFile, ifMatch: string | undefined): boolean {
  if (ifMatch === undefined || ifMatch.trim() === '*') return true;
  const own = (['identity', 'br', 'gzip'] as const).map((coding) => tagOf(file, coding));
  return ifMatch.split(',').some((tag) => own.includes(tag.trim()));
}

export type Range =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly from: number; readonly to: number }
  | { readonly kind: 'unsatisfiable' };

const WHOLE: Range = { kind: 'whole' };

/** One range; several at once, and what is not understood, are answered whole, as RFC 9110 allows. */
export function rangeOf(file: AssetFile, range: string | undefined, ifRange: string | undefined): Range {
  if (range === undefined) return WHOLE;
  // Files have no date here, so a date never matches.
  if (ifRange !== undefined && ifRange.trim() !== tagOf(file, 'identity')) return WHOLE;
  const match = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/i.exec(range);
  if (match === null) return WHOLE;
  const [, first = '', last = ''] = match;
  if (first === '') {
    if (last === '') return WHOLE;
    const length = Math.min(Number(last), file.bytes);
    return length === 0
      ? { kind: 'unsatisfiable' }
      : { kind: 'part', from: file.bytes - length, to: file.bytes - 1 };
  }
  const from = Number(first);
  if (last !== '' && Number(last) < from) return WHOLE;
  if (from >= file.bytes) return { kind: 'unsatisfiable' };
  return { kind: 'part', from, to: last === '' ? file.bytes - 1 : Math.min(Number(last), file.bytes - 1) };
}

/** May be kept by a browser, which asks each time whether it is current; by others only when anyone may read it. */
export function cacheControlOf(isPublic: boolean): string {
  return isPublic ? 'public, max-age=0, must-revalidate' : 'private, max-age=0, must-revalidate';
}

/** Header names (lower case) and values in turn. */
export type FlatHeaders = readonly string[];

/** `extra` wins, but for `vary`, which grows. */
export function merged(headers: FlatHeaders, extra: FlatHeaders): FlatHeaders {
  if (extra.length === 0) return headers;
  const values = new Map<string, string>();
  for (let index = 0; index < headers.length; index += 2)
    values.set(headers[index] ?? '', headers[index + 1] ?? '');
  for (let index = 0; index < extra.length; index += 2) {
    const name = extra[index] ?? '';
    const before = name === 'vary' ? values.get(name) : undefined;
    values.set(name, before === undefined ? (extra[index + 1] ?? '') : `${before}, ${extra[index + 1]}`);
  }
  return [...values].flat();
}

const COOKIE_DOMAIN = /;\s*domain\s*=[^;]*/gi;

/**
 * What `_headers` says, applied: a first `set` replaces, further ones for the same header are added; a rule
 * removes before it sets. Its cookies are of the host alone that sets them: rules are written without knowing the
 * hosts, and a domain may hold those of others. Judged here, where placeholders have their values.
 */
export function changed(headers: FlatHeaders, changes: readonly HeaderChange[]): FlatHeaders {
  if (changes.length === 0) return headers;
  const values = new Map<string, string>();
  for (let index = 0; index < headers.length; index += 2)
    values.set(headers[index] ?? '', headers[index + 1] ?? '');
  const own = new Set<string>();
  for (const { set, unset } of changes) {
    for (const name of unset) values.delete(name);
    for (const [name, value] of set) {
      const before = own.has(name) ? values.get(name) : undefined;
      values.set(name, before === undefined ? value : `${before}, ${value}`);
      own.add(name);
    }
  }
  const cookie = values.get('set-cookie');
  if (cookie !== undefined) values.set('set-cookie', cookie.replaceAll(COOKIE_DOMAIN, ''));
  return [...values].flat();
}
