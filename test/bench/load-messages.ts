/** What the bench and its load generator say to each other over IPC. */
import { z } from 'zod';

const signingKeySchema = z.object({
  keyId: z.string(),
  algorithm: z.enum(['ed25519', 'hmac-sha256']),
  secret: z.string(),
});

/** How the bytes of the requests come about. All are made before the measured time begins. */
export const requestPlanSchema = z.discriminatedUnion('kind', [
  /** The same bytes each time. */
  z.object({ kind: z.literal('same'), headers: z.record(z.string(), z.string()) }),
  /** `count` requests with a signature and nonce each. */
  z.object({ kind: z.literal('signed'), count: z.number().int(), key: signingKeySchema }),
  /** `count` requests with a token each; the private key is PKCS #8, base64. */
  z.object({
    kind: z.literal('tokens'),
    count: z.number().int(),
    privateKey: z.string(),
    kid: z.string(),
    issuer: z.string(),
    audience: z.string(),
  }),
]);

export const loadJobSchema = z.object({
  url: z.string(),
  host: z.string(),
  connections: z.number().int().min(1),
  durationMs: z.number(),
  plan: requestPlanSchema,
});

export const toLoadSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('prepare'), job: loadJobSchema }),
  z.object({ type: z.literal('go') }),
]);

export const fromLoadSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('prepared') }),
  z.object({
    type: z.literal('done'),
    /** Measured time; shorter than asked when the prepared requests ran out. */
    elapsedMs: z.number(),
    answered: z.number().int(),
    /** Answers other than 200, by status. */
    refused: z.record(z.string(), z.number().int()),
    /** First body that was not 200. */
    firstRefusal: z.string().optional(),
    p50Ms: z.number(),
    p99Ms: z.number(),
    p999Ms: z.number(),
    pauseP99Ms: z.number(),
    maxMs: z.number(),
  }),
  z.object({ type: z.literal('failed'), message: z.string() }),
]);

export type RequestPlan = z.infer<typeof requestPlanSchema>;
export type LoadJob = z.infer<typeof loadJobSchema>;
export type FromLoad = z.infer<typeof fromLoadSchema>;
export type LoadResult = Extract<FromLoad, { type: 'done' }>;
