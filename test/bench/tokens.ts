/** Distinct EdDSA tokens, as fast as Node signs. */
import { createPrivateKey, randomUUID, sign } from 'node:crypto';
import type { RequestPlan } from './load-messages.ts';

const LIFETIME_S = 600;

export type TokenPlan = Extract<RequestPlan, { kind: 'tokens' }>;

export function tokenMaker(plan: TokenPlan): () => string {
  const key = createPrivateKey({ key: Buffer.from(plan.privateKey, 'base64'), format: 'der', type: 'pkcs8' });
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const header = encode({ alg: 'EdDSA', kid: plan.kid });
  const now = Math.floor(Date.now() / 1000);
  return () => {
    const claims = {
      iss: plan.issuer,
      aud: plan.audience,
      sub: 'bench',
      iat: now,
      exp: now + LIFETIME_S,
      jti: randomUUID(),
    };
    const signed = `${header}.${encode(claims)}`;
    return `${signed}.${sign(null, Buffer.from(signed), key).toString('base64url')}`;
  };
}
