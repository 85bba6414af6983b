/**
 * The one reading of a request target. Routing, authentication by path, signatures, forwarding and upgrades
 * all take it from here, and routes are stored in the same form, so that no two of them can differ. Pure.
 *
 * A path is normalised as RFC 3986 section 6.2.2 says, where functions see the same URL through the parser
 * of WHATWG: percent-encodings of unreserved characters are decoded and the others written in upper case,
 * `\` is `/`, dot segments (`%2e` too) are resolved, characters that a URL cannot hold are percent-encoded.
 *
 * What stays as it is, because programs depend on it: empty segments (`//`), encoded slashes (`%2F`, `%5C`)
 * and encoded control characters (`%00`) are data of a segment. Programs that decode or merge them read
 * another path, which {@link RequestTarget.lax} tells: where it would lead elsewhere the request is refused.
 */

export interface RequestTarget {
  /** Normalised, begins with `/`. */
  readonly path: string;
  /** With its leading `?`, as sent; empty when there is none. */
  readonly query: string;
  /** The target as it was sent: what signatures cover (RFC 9421 section 2.2). */
  readonly raw: string;
  /** The path as the most liberal reader understands it; undefined when that is {@link path}. */
  readonly lax: string | undefined;
}

/** For callers whose path leads elsewhere in its lax reading. */
export const AMBIGUOUS_PATH =
  'The path holds encoded or repeated slashes and would lead elsewhere without them. Send it without.';

export type ReadTarget = RequestTarget | { readonly problem: string };

/** Nothing to normalise: segments of unreserved characters and sub-delims that do not begin with a dot. */
const PLAIN = /^(?=\/)(?:\/[\w~!$&'()*+,;=:@-][\w~!$&'()*+,;=:@.-]*)*\/?(?:\?[\u0021\u0024-\u007e]*)?$/;
const ABSOLUTE = /^https?:\/\/[^/?#\\]*/i;
// oxlint-disable-next-line no-control-regex -- finding control characters is the point
const FORBIDDEN = /[\u0000-\u0020\u007f#]/;
const ENCODED = /%([0-9A-Fa-f]{2})/g;
const UNRESERVED = /[A-Za-z0-9._~-]/;
/** The path percent-encode set of WHATWG URL, and every byte beyond ASCII. */
const TO_ENCODE = /["<>^`{}\u0080-\u{10ffff}]/gu;
const BEYOND_ASCII = /[\u0080-\u00ff]/g;
const LAX = /%2F|%5C|\/\//;

/**
 * @param target - of the request line; each character is one byte (latin1).
 * @returns a `problem`, safe to show, when the target means nothing or two things.
 */
export function readTarget(target: string): ReadTarget {
  if (PLAIN.test(target)) {
    const mark = target.indexOf('?');
    if (mark < 0) return { path: target, query: '', raw: target, lax: undefined };
    return { path: target.slice(0, mark), query: target.slice(mark), raw: target, lax: undefined };
  }
  return readOdd(target);
}

function readOdd(target: string): ReadTarget {
  if (target.includes('#')) return { problem: 'the request target holds a fragment (#)' };
  if (FORBIDDEN.test(target))
    return { problem: 'the request target holds a space or control character; percent-encode it' };
  const origin = ABSOLUTE.exec(target)?.[0] ?? '';
  const rest = target.slice(origin.length);
  const mark = rest.indexOf('?');
  const rawPath = mark < 0 ? rest : rest.slice(0, mark);
  const query = mark < 0 ? '' : rest.slice(mark);
  if (origin === '' && !/^[/\\]/.test(rawPath))
    return { problem: 'the request target must be a path that begins with /' };
  const path = normalPath(rawPath, byteEncoded);
  // What else a query holds is the function's.
  return { path, query: query.replaceAll(BEYOND_ASCII, byteEncoded), raw: target, lax: laxPath(path) };
}

function byteEncoded(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

/** @param encode - of one character that a path cannot hold. */
function normalPath(raw: string, encode: (character: string) => string): string {
  const path = raw
    .replaceAll('\\', '/')
    .replaceAll(ENCODED, (_, digits: string) => {
      const character = String.fromCharCode(Number.parseInt(digits, 16));
      return UNRESERVED.test(character) ? character : `%${digits.toUpperCase()}`;
    })
    .replaceAll(TO_ENCODE, encode);
  return withoutDots(path);
}

/** RFC 3986 section 5.2.4; empty segments are kept. */
function withoutDots(path: string): string {
  if (!path.includes('/.')) return path === '' ? '/' : path;
  const kept: string[] = [];
  const segments = path.split('/').slice(1);
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1;
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
    if (last && (segment === '..' || segment === '.')) kept.push('');
  }
  return `/${kept.join('/')}`;
}

/** Encoded slashes read as slashes, runs of slashes as one. */
function laxPath(path: string): string | undefined {
  if (!LAX.test(path)) return undefined;
  return withoutDots(path.replaceAll(/%2F|%5C/g, '/').replaceAll(/\/{2,}/g, '/'));
}

/**
 * The form in which the path of a route is stored, so that it can match.
 *
 * @param path - as a person writes it: any characters, percent-encoded or not. `/*` at its end is a pattern.
 */
export function storedPath(path: string): { readonly path: string } | { readonly problem: string } {
  if (!path.startsWith('/')) return { problem: 'a path begins with /' };
  if (/[?#]/.test(path)) return { problem: 'a path holds no query and no fragment' };
  // oxlint-disable-next-line no-control-regex -- finding control characters is the point
  if (/[\u0000-\u001f\u007f]/.test(path)) return { problem: 'a path holds no control characters' };
  if (/\p{Surrogate}/u.test(path)) return { problem: 'a path is well-formed text' };
  const normal = normalPath(path.replaceAll(' ', '%20'), encodeURIComponent);
  const lax = laxPath(normal);
  if (lax !== undefined)
    return { problem: `a path holds no encoded and no repeated slashes; write ${JSON.stringify(lax)}` };
  const star = normal.indexOf('*');
  if (star >= 0 && !(star === normal.length - 1 && normal.endsWith('/*')))
    return { problem: 'a * stands for everything below a path and only at its end: /path/*' };
  return { path: normal };
}

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** The form in which the host of a route is stored: lower case, A-labels, neither port nor final dot. */
export function storedHost(host: string): { readonly host: string } | { readonly problem: string } {
  if (host.startsWith('*'))
    return { problem: 'wildcard hosts are not supported; add one route for each host' };
  if (/[/?#@\\\s]|:\/\//.test(host)) return { problem: 'a host is a name alone, such as www.example.com' };
  const ported = /^(?<name>.*):(?<port>\d*)$/.exec(host)?.groups;
  if (ported !== undefined && !host.endsWith(']'))
    return { problem: `a host is written without its port: ${ported['name']}` };
  let name: string;
  try {
    name = new URL(`http://${host}/`).hostname;
  } catch {
    return { problem: 'this is not a host name' };
  }
  if (name.endsWith('.')) name = name.slice(0, -1);
  if (name.length > 253) return { problem: 'a host name has at most 253 characters' };
  if (!name.startsWith('[') && !name.split('.').every((label) => LABEL.test(label)))
    return { problem: 'this is not a host name' };
  return { host: name };
}
