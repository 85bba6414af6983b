/** The functions that the bench deploys, and the token issuer that one of them trusts. */
import { generateKeyPairSync } from 'node:crypto';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import type { TokenPlan } from './tokens.ts';

/** Served by raw workerd and by the platform alike. */
export const HELLO = `export default { fetch() { return new Response('Hello, world!\\n'); } };\n`;

/** Answers a text by which versions can be told apart. */
export const saying = (text: string): string =>
  `export default { fetch() { return new Response(${JSON.stringify(text)}); } };\n`;

export const PUBLIC: Partial<FunctionConfigInput> = { auth: { mode: 'public' } };

const KID = 'bench';
const ISSUER = 'https://issuer.example';

export interface TokenIssuer {
  readonly config: (audience: string) => Partial<FunctionConfigInput>;
  readonly plan: (audience: string, count: number) => TokenPlan;
}

export function tokenIssuer(): TokenIssuer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const { x } = publicKey.export({ format: 'jwk' });
  const secret = privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64');
  return {
    config: (audience) => ({
      auth: {
        mode: 'jwt',
        issuer: ISSUER,
        audience,
        jwks: { keys: [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid: KID, x }] },
      },
    }),
    plan: (audience, count) => ({
      kind: 'tokens',
      count,
      privateKey: secret,
      kid: KID,
      issuer: ISSUER,
      audience,
    }),
  };
}
