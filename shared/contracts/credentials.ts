/**
 * Files in the data folder that the CLI reads (both mode 0600).
 *
 * `credentials.json` is written by control at its first start: the owner key of account `default`.
 * `platform.json` is written by `isoplane up` at each start: where the running platform listens.
 */
import { z } from 'zod';
import { accountNameSchema } from '../ids.ts';

export const credentialsSchema = z.object({
  account: accountNameSchema,
  keyId: z.string(),
  algorithm: z.enum(['ed25519', 'hmac-sha256']),
  /** ed25519: private key as PKCS #8, base64url. hmac-sha256: the secret, base64url. */
  secret: z.string(),
});
export type Credentials = z.infer<typeof credentialsSchema>;

export const platformFileSchema = z.object({
  controlUrl: z.url(),
  gatewayUrl: z.url(),
  baseDomain: z.string(),
  pid: z.number().int(),
});
export type PlatformFile = z.infer<typeof platformFileSchema>;
