/**
 * By which names control may be called. Pure.
 *
 * A signature covers the host that its caller meant. A function that was called with a signature sees it, and
 * could send it on to control: as it names the function's host and not one of control's, it is refused here.
 */
import { isIP } from 'node:net';

export interface OwnNames {
  /** Address that control was told to listen on. */
  readonly host: string;
  readonly port: number;
  /** Names that operators gave it, with or without a port: what stands before a TLS terminator. */
  readonly names: readonly string[];
}

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];
/** Listening on these is listening on every address of the machine. */
const WILDCARDS = new Set(['0.0.0.0', '::', '[::]']);

/** @param authority - the Host header as it came. */
export function isOwnName(authority: string | undefined, own: OwnNames): boolean {
  if (authority === undefined) return false;
  const wanted = authority.toLowerCase();
  if (own.names.some((name) => name === wanted)) return true;
  const suffix = `:${own.port}`;
  if (!wanted.endsWith(suffix)) return false;
  const host = wanted.slice(0, -suffix.length);
  if (host === own.host.toLowerCase() || host === `[${own.host.toLowerCase()}]`) return true;
  if (LOOPBACK.includes(host)) return true;
  return WILDCARDS.has(own.host) && isIP(host.replace(/^\[|\]$/g, '')) !== 0;
}
