/** What of a stored configuration calls show: that there is a secret, not which, not even sealed. */
import type { Auth, FunctionConfig } from '#shared/contracts/config.ts';
import type { Jwks } from '#shared/contracts/jwks.ts';

export function shownJwks({ keys }: Jwks): { keys: Jwks['keys'][number][] } {
  return {
    keys: keys.map((key) => {
      if (key.kty !== 'oct') return key;
      const { k: _, sealed: __, ...rest } = key;
      return rest;
    }),
  };
}

export function shownConfig(config: FunctionConfig): FunctionConfig {
  const shown = (auth: Auth): Auth =>
    auth.mode === 'jwt' && auth.jwks !== undefined ? { ...auth, jwks: shownJwks(auth.jwks) } : auth;
  const authByPath = (config.authByPath ?? []).map(({ path, auth }) => ({ path, auth: shown(auth) }));
  return { ...config, auth: shown(config.auth), authByPath };
}
