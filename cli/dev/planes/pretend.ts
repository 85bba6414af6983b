/** `--auth off`: whoever is refused comes in as a pretended caller. Pure. */
import type { Authenticate } from '#gateway/auth/authenticator.ts';
import type { AuthOutcome } from '#gateway/auth/outcome.ts';
import type { VersionItem } from '#shared/contracts/feed.ts';
import { toBase64Url } from '#shared/encoding.ts';
import type { GatewaySettings } from './settings.ts';

const CALLER = 'dev';
const TOKEN_S = 3_600;

export interface PretendDeps {
  readonly settings: () => Pick<GatewaySettings, 'auth' | 'claims'>;
  readonly nowMs: () => number;
  /** Runs for each caller that is not let in. */
  readonly onRefused: () => void;
}

/** Real credentials keep their meaning, so that tokens can be tried too. */
export function pretending(real: Authenticate, { settings, nowMs, onRefused }: PretendDeps): Authenticate {
  return async (call, target, by) => {
    const outcome = await real(call, target, by);
    if (outcome.kind !== 'refused') return outcome;
    const { auth, claims } = settings();
    if (auth !== 'off') {
      if (outcome.challenge !== 'none') onRefused();
      return outcome;
    }
    return outcome.challenge === 'bearer' ? withToken(target.version, claims, nowMs()) : SIGNED;
  };
}

const SIGNED: AuthOutcome = { kind: 'verified', principal: CALLER, claims: undefined };

function withToken({ auth }: VersionItem, claims: GatewaySettings['claims'], nowMs: number): AuthOutcome {
  const nowS = Math.floor(nowMs / 1_000);
  const payload = {
    sub: CALLER,
    ...(auth.mode === 'jwt' ? { aud: auth.audience } : {}),
    ...(auth.mode === 'jwt' && auth.issuer !== undefined ? { iss: auth.issuer } : {}),
    iat: nowS,
    exp: nowS + TOKEN_S,
    ...claims,
  };
  const { sub } = payload;
  return {
    kind: 'verified',
    principal: typeof sub === 'string' ? encodeURIComponent(sub) : undefined,
    claims: toBase64Url(new TextEncoder().encode(JSON.stringify(payload))),
  };
}
