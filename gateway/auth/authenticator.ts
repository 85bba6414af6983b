/** Who may call: the mode of the version's configuration decides. */
import type { Auth } from '#shared/contracts/config.ts';
import { PlatformError } from '#shared/errors.ts';
import { AMBIGUOUS_PATH } from '#shared/http/target.ts';
import type { Call } from '../ports.ts';
import type { Target } from '../routing/router.ts';
import { authFor } from './by-path.ts';
import { JwtAuthenticator } from './jwt.ts';
import type { AuthOutcome } from './outcome.ts';
import { ACCEPT_SIGNATURE, authenticateSigned, type SignedDeps } from './signed.ts';

/** @param by - the rule to judge by, when it is not that of the call's own path. */
export type Authenticate = (call: Call, target: Target, by?: Auth) => AuthOutcome | Promise<AuthOutcome>;

const ANYONE: AuthOutcome = { kind: 'verified', principal: undefined, claims: undefined };

const AMBIGUOUS: AuthOutcome = {
  kind: 'refused',
  error: new PlatformError('target_invalid', 'two readings of the path have different rules', {
    publicDetail: AMBIGUOUS_PATH,
  }),
  challenge: 'none',
};

export function createAuthenticator(deps: SignedDeps): Authenticate {
  const tokens = new JwtAuthenticator(deps.clock, deps.keys.openJwk);
  return (call, { functionItem, version, account }, by) => {
    const auth = by ?? authFor(version, call.target);
    if (auth === undefined) return AMBIGUOUS;
    switch (auth.mode) {
      case 'public':
        return ANYONE;
      case 'jwt':
        return tokens.authenticate(call, version, auth, account);
      case 'signed':
        return authenticateSigned(deps, call, functionItem);
    }
  };
}

/** Adds what RFC 9110 section 11.6.1 asks of a 401, for the scheme that the function wants. */
export function addChallenge(response: Response, challenge: 'signature' | 'bearer' | 'none'): Response {
  if (response.status !== 401) return response;
  if (challenge === 'signature') {
    response.headers.set('www-authenticate', 'Signature realm="isoplane"');
    response.headers.set('accept-signature', ACCEPT_SIGNATURE);
  } else if (challenge === 'bearer') {
    response.headers.set('www-authenticate', 'Bearer realm="isoplane"');
  }
  return response;
}
