/** Which headers cross the proxy. Pure, on flat lists of names and values as they stood on the wire. */
import { connectionListed, HOP_BY_HOP } from '#shared/carry/headers.ts';

/** `expect` is answered by the proxy itself. */
const DROPPED: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'expect']);

function keep(raw: readonly string[], drops: (name: string) => boolean): string[] {
  const connection = connectionListed(raw);
  const kept: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    // Nobody outside the platform speaks or hears its own headers.
    const internal = lower.startsWith('isoplane-') || lower.startsWith('proxy-');
    if (internal || DROPPED.has(lower) || connection?.has(lower) === true || drops(lower)) continue;
    kept.push(name, raw[index + 1] ?? '');
  }
  return kept;
}

export interface Injected {
  readonly name: string;
  readonly value: string;
}

/** Host is the URL's, whatever code said; an injected header replaces code's own of that name. */
export function requestHeaders(
  raw: readonly string[],
  authority: string,
  injected: readonly Injected[],
): string[] {
  const replaced = new Set(injected.map(({ name }) => name.toLowerCase()));
  return [
    'host',
    authority,
    ...keep(raw, (name) => name === 'host' || replaced.has(name)),
    ...injected.flatMap(({ name, value }) => [name, value]),
  ];
}

/** The length comes last: Node re-encodes the bytes of a Content-Disposition that follows one. */
export function responseHeaders(raw: readonly string[]): string[] {
  const headers = keep(raw, (name) => name === 'content-length');
  const length = headerOf(raw, 'content-length');
  if (length !== undefined) headers.push('content-length', length);
  return headers;
}

/** First value of a header, by its lower-case name. */
export function headerOf(raw: readonly string[], name: string): string | undefined {
  for (let index = 0; index < raw.length; index += 2)
    if (raw[index]?.toLowerCase() === name) return raw[index + 1];
  return undefined;
}
