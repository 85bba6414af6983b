/** Headers between two functions. Pure; flat arrays of names and values in turn, as Node gives and takes. */
import { HEADER_PREFIX, OUTCOME } from '#shared/contracts/invoke.ts';
import { HOP_BY_HOP } from '#shared/upstream/hop-by-hop.ts';

/** Framing is ours: it is written anew. */
const DROPPED: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'http2-settings']);

function connectionListed(raw: readonly string[]): Set<string> {
  const listed = new Set<string>();
  for (let index = 0; index < raw.length; index += 2)
    if (raw[index]?.toLowerCase() === 'connection')
      for (const token of (raw[index + 1] ?? '').split(',')) listed.add(token.trim().toLowerCase());
  listed.delete('host');
  return listed;
}

/** What may pass, in either direction: nothing of one connection alone, and nothing that only we may say. */
export function passing(raw: readonly string[], added: readonly string[]): string[] {
  return filtered(raw, added, connectionListed(raw));
}

/** Of a request: its length is written by the client that sends it on. */
export function requestHeaders(raw: readonly string[], added: readonly string[]): string[] {
  return filtered(raw, added, connectionListed(raw).add('content-length'));
}

function filtered(raw: readonly string[], added: readonly string[], listed: ReadonlySet<string>): string[] {
  const headers: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (DROPPED.has(lower) || lower.startsWith(HEADER_PREFIX) || listed.has(lower)) continue;
    headers.push(name, raw[index + 1] ?? '');
  }
  for (const part of added) headers.push(part);
  return headers;
}

/** The handler threw; workerd's own bare answer to a promise that never settles counts too. */
export function isFunctionError(status: number, raw: readonly string[]): boolean {
  if (status !== 500) return false;
  const names = raw.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  const at = names.indexOf(OUTCOME);
  if (at >= 0) return raw[at * 2 + 1] === 'function_error';
  const others = names.filter((name) => name !== 'connection' && name !== 'keep-alive');
  const length = raw[names.indexOf('content-length') * 2 + 1];
  return (
    others.length === 1 && others[0] === 'content-length' && length === String('Internal Server Error'.length)
  );
}
