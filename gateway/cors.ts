/**
 * Cross-origin calls of browsers (Fetch standard, CORS protocol) for functions that configure `cors`. Pure.
 *
 * Preflights carry no credentials, so they are answered before anybody is asked who he is; refusals carry the
 * headers too, or scripts would see a failed fetch instead of the reason.
 */
import { coversOrigin, type Cors } from '#shared/contracts/cors.ts';
import { REQUEST_ID, VERSION } from '#shared/contracts/invoke.ts';
import type { Call } from './ports.ts';

/** The gateway alone says these where `cors` is configured: said twice, browsers refuse both. */
export const CORS_RESPONSE_HEADERS: ReadonlySet<string> = new Set([
  'access-control-allow-origin',
  'access-control-allow-credentials',
  'access-control-expose-headers',
]);
const EXPOSED = [REQUEST_ID, VERSION, 'retry-after', 'www-authenticate'];

function allowedOrigin(cors: Cors, origin: string): string | undefined {
  if (cors.origins.includes('*')) return '*';
  return cors.origins.some((entry) => coversOrigin(entry, origin)) ? origin : undefined;
}

/** Headers for the response to a call, names and values in turn; empty when it comes from no other origin. */
export function corsHeaders(cors: Cors, call: Call): readonly string[] {
  const origin = call.header('origin');
  const varies = cors.origins.includes('*') ? [] : ['vary', 'Origin'];
  const allowed = origin === undefined ? undefined : allowedOrigin(cors, origin);
  if (allowed === undefined) return varies;
  return [
    ...varies,
    'access-control-allow-origin',
    allowed,
    'access-control-expose-headers',
    [...EXPOSED, ...cors.exposedHeaders].join(', '),
    ...(cors.credentials ? ['access-control-allow-credentials', 'true'] : []),
  ];
}

/** The answer to a preflight; undefined when the request is none. */
export function preflight(cors: Cors, call: Call): Response | undefined {
  if (call.method !== 'OPTIONS') return undefined;
  const origin = call.header('origin');
  const method = call.header('access-control-request-method');
  if (origin === undefined || method === undefined) return undefined;
  const headers = new Headers({
    vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
  });
  const allowed = allowedOrigin(cors, origin);
  if (allowed !== undefined) {
    const wanted = call.header('access-control-request-headers');
    headers.set('access-control-allow-origin', allowed);
    if (cors.credentials) headers.set('access-control-allow-credentials', 'true');
    headers.set(
      'access-control-allow-methods',
      cors.methods.includes('*') ? method : cors.methods.join(', '),
    );
    // A * in the answer would not take in Authorization, and nothing at all with credentials: what was asked is repeated.
    const headersAllowed = cors.headers.includes('*') ? wanted : cors.headers.join(', ');
    if (headersAllowed !== undefined && headersAllowed !== '')
      headers.set('access-control-allow-headers', headersAllowed);
    headers.set('access-control-max-age', String(Math.floor(cors.maxAgeMs / 1000)));
  }
  return new Response(null, { status: 204, headers });
}

export function addCors(response: Response, cors: Cors | undefined, call: Call): Response {
  if (cors === undefined) return response;
  const headers = corsHeaders(cors, call);
  for (let index = 0; index < headers.length; index += 2)
    response.headers.append(headers[index] ?? '', headers[index + 1] ?? '');
  return response;
}
