/**
 * The name of a caller as functions get it: a kind (`function` for calls through bindings), a colon, and what that kind
 * knows it by. Different callers have
 * different names, whatever characters they hold.
 */
import { LIMITS } from '#shared/limits.ts';

type PrincipalKind = 'key' | 'token';

const PLAIN = /^[\u0021-\u0024\u0026-\u007e]+$/;

/** Percent-encodes what is no visible ASCII, and `%` itself. undefined: too long, or not well-formed text. */
export function principalOf(kind: PrincipalKind, name: string): string | undefined {
  if (/\p{Surrogate}/u.test(name)) return undefined;
  const encoded = PLAIN.test(name)
    ? name
    : name.replaceAll(/[^\u0021-\u0024\u0026-\u007e]/gu, (character) => encodeURIComponent(character));
  const principal = `${kind}:${encoded}`;
  return principal.length > LIMITS.principalBytesMax ? undefined : principal;
}
