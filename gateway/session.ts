/**
 * How a request says which session it belongs to (isolation `session`). The id comes from the client, so it is
 * a look-up key within one version and no credential: a guessed or stolen one reaches the same function, after
 * the same authentication.
 */
import type { Scaling } from '#shared/contracts/config.ts';
import { sessionIdSchema } from '#shared/contracts/leases.ts';
import type { Call } from './ports.ts';

export interface Session {
  readonly id: string;
  /** Names and values of headers that tell the client of a session that begins. */
  readonly told: readonly string[];
}

const SESSION_DEFAULT = { by: 'cookie', name: 'isoplane_session' } as const;

/** undefined: the function's instances are shared. `newId` must be unguessable. */
export function sessionOf(call: Call, scaling: Scaling, newId: () => string): Session | undefined {
  if (scaling.isolation !== 'session') return undefined;
  const { by, name } = scaling.session ?? SESSION_DEFAULT;
  const said = by === 'cookie' ? cookieOf(call.header('cookie'), name) : call.header(name.toLowerCase());
  if (said !== undefined && sessionIdSchema.safeParse(said).success) return { id: said, told: [] };
  const id = newId();
  if (by === 'header') return { id, told: [name, id] };
  const secure = call.scheme === 'https' ? '; Secure' : '';
  return { id, told: ['set-cookie', `${name}=${id}; Path=/; HttpOnly; SameSite=Lax${secure}`] };
}

/** The first cookie of that name, which is the one with the longest path (RFC 6265 section 5.4). */
function cookieOf(header: string | undefined, name: string): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const at = pair.indexOf('=');
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
  }
  return undefined;
}
