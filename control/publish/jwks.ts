/** Key sets that arrive at control: judged as they were given, and stored without a secret in plain. */
import type { Auth, AuthByPath, FunctionConfig } from '#shared/contracts/config.ts';
import { jwkContext, jwksProblems, plainSecretOf, type Jwks } from '#shared/contracts/jwks.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import { seal, type KeyEncryptionKey } from '#shared/seal.ts';

/** Every member called `jwks` at or below `value`, with its path. */
function setsIn(value: unknown, path: string): readonly { readonly path: string; readonly set: unknown }[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, member]: [string, unknown]) =>
    name === 'jwks' ? [{ path: `${path}.jwks`, set: member }] : setsIn(member, `${path}.${name}`),
  );
}

/**
 * @param given - what was uploaded as `config`, before a schema dropped anything.
 * @throws {PlatformError} `config_invalid` with every problem.
 */
export function refuseBadJwks(given: { readonly auth?: unknown; readonly authByPath?: unknown }): void {
  const sets = [...setsIn(given.auth, 'config.auth'), ...setsIn(given.authByPath, 'config.authByPath')];
  const problems = sets.flatMap(({ path, set }) =>
    jwksProblems(set).map((problem) => ({
      path: [path, ...problem.path].join('.'),
      message: problem.message,
    })),
  );
  const [first] = problems;
  if (first === undefined) return;
  throw new PlatformError('config_invalid', `${first.path}: ${first.message}`, {
    publicDetail: `${first.path}: ${first.message}`,
    extensions: { problems },
  });
}

export async function sealJwks(
  kek: KeyEncryptionKey,
  account: AccountName,
  { keys }: Jwks,
): Promise<{ keys: Jwks['keys'][number][] }> {
  return {
    keys: await Promise.all(
      keys.map(async (key) => {
        const secret = plainSecretOf(key);
        if (key.kty !== 'oct' || secret === undefined) return key;
        const { k: _, ...rest } = key;
        return { ...rest, sealed: await seal(kek, secret, jwkContext(account)) };
      }),
    ),
  };
}

/** The configuration as it is stored and sent to gateways. */
export async function sealConfig(
  kek: KeyEncryptionKey,
  account: AccountName,
  config: FunctionConfig,
): Promise<FunctionConfig> {
  const sealed = async (auth: Auth): Promise<Auth> =>
    auth.mode === 'jwt' && auth.jwks !== undefined
      ? { ...auth, jwks: await sealJwks(kek, account, auth.jwks) }
      : auth;
  const authByPath = await Promise.all(
    rulesOf(config).map(async ({ path, auth }) => ({ path, auth: await sealed(auth) })),
  );
  return { ...config, auth: await sealed(config.auth), authByPath };
}

/** Versions that earlier releases stored have none. */
function rulesOf({ authByPath }: Partial<FunctionConfig>): AuthByPath {
  return authByPath ?? [];
}
