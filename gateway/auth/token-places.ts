/**
 * Where a token may stand. Browsers cannot set Authorization on WebSockets and EventSource, so it may also come as a
 * subprotocol, `new WebSocket(url, ['isoplane.bearer', token, …])`, and where the function allows it in the query of a
 * GET. From there it does not reach the function. Pure.
 */
import type { JwtAuth } from '#shared/contracts/config.ts';
import type { Call } from '../ports.ts';

/** The subprotocol that announces a token as the next one. Answered when the function chooses none. */
export const BEARER_SUBPROTOCOL = 'isoplane.bearer';
const BEARER = /^bearer +(.*)$/is;

export type TokenPlace =
  | { readonly kind: 'missing' }
  /** An Authorization header with something else in it. */
  | { readonly kind: 'other' }
  | { readonly kind: 'token'; readonly token: string; readonly hidden: Hidden | undefined };

/** What of the request must not reach the function. */
export type Hidden =
  /** `rest`: the other subprotocols; empty when there are none. */
  | { readonly kind: 'subprotocol'; readonly rest: string }
  /** By a key of the platform. */
  | { readonly kind: 'signature' }
  | { readonly kind: 'query'; readonly query: string };

/** @param authorization - the header's value, which wins over all other places. */
export function findToken(call: Call, auth: JwtAuth, authorization: string | undefined): TokenPlace {
  if (authorization !== undefined) {
    const token = BEARER.exec(authorization)?.[1];
    return token === undefined ? { kind: 'other' } : { kind: 'token', token, hidden: undefined };
  }
  return (call.upgrades ? inSubprotocols(call) : inQuery(call, auth)) ?? { kind: 'missing' };
}

function inSubprotocols(call: Call): TokenPlace | undefined {
  const offered =
    call
      .header('sec-websocket-protocol')
      ?.split(',')
      .map((part) => part.trim()) ?? [];
  const at = offered.indexOf(BEARER_SUBPROTOCOL);
  const token = at < 0 ? undefined : offered[at + 1];
  if (token === undefined) return undefined;
  const rest = offered.toSpliced(at, 2).join(', ');
  return { kind: 'token', token, hidden: { kind: 'subprotocol', rest } };
}

function inQuery(call: Call, { tokenQuery }: JwtAuth): TokenPlace | undefined {
  const { query } = call.target;
  if (tokenQuery === undefined || query === '' || call.method !== 'GET') return undefined;
  const given = query.slice(1).split('&');
  const prefix = `${tokenQuery}=`;
  const found = given.filter((pair) => pair.startsWith(prefix));
  const [pair] = found;
  // Two tokens would leave open which of them counts.
  if (pair === undefined || found.length > 1) return undefined;
  const rest = given.filter((other) => other !== pair).join('&');
  const token = pair.slice(prefix.length);
  return { kind: 'token', token, hidden: { kind: 'query', query: rest === '' ? '' : `?${rest}` } };
}
