// Prints a token that this example accepts for five minutes: node token.mjs [subject]
import { importJWK, SignJWT } from 'jose';

// The key pair printed in RFC 8037, appendix A.1. Public knowledge, good for a demonstration only.
const key = await importJWK(
  {
    kty: 'OKP',
    crv: 'Ed25519',
    d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
    x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
  },
  'EdDSA',
);
const token = await new SignJWT({ scope: 'read' })
  .setProtectedHeader({ alg: 'EdDSA', kid: 'rfc8037' })
  .setSubject(process.argv[2] ?? 'ada')
  .setIssuer('https://issuer.example')
  .setAudience('jwt-protected')
  .setIssuedAt()
  .setExpirationTime('5m')
  .sign(key);
process.stdout.write(`${token}\n`);
