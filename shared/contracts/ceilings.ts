/** What an account may use at most. */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';

/** Set by the operator. Absent members: the platform's own limits alone. */
export const ceilingsSchema = z.strictObject({
  /** Instances of all functions together. */
  instances: z.number().int().min(0).optional(),
  /** Largest values that a version's config may hold. */
  cpuMs: z.number().int().min(10).optional(),
  timeoutMs: z.number().int().min(10).optional(),
  memoryMb: z.number().int().min(LIMITS.memoryMbMin).optional(),
  /** Functions, and bytes kept in KV, of the account. */
  functions: z.number().int().min(0).optional(),
  kvBytes: z.number().int().min(0).optional(),
  /** Of each kind as many, together (control/db/ceilings.ts holds the defaults). */
  aliases: z.number().int().min(0).optional(),
  routes: z.number().int().min(0).optional(),
  keys: z.number().int().min(0).optional(),
  layerVersions: z.number().int().min(0).optional(),
  /** Versions of one function; the oldest that no alias uses go. */
  versionsKept: z.number().int().min(1).optional(),
  /** Bytes of the configurations that aliases use: every gateway and node holds them. */
  feedBytes: z.number().int().min(0).optional(),
  /** Bytes of code that versions and layers keep, with source maps; each file once. */
  codeBytes: z.number().int().min(0).optional(),
  /** Bytes of static assets that the account keeps, each file once. */
  assetBytes: z.number().int().min(0).optional(),
  /** Least tier that its functions run in. */
  tier: z.enum(['standard', 'strict']).optional(),
});

export type Ceilings = z.infer<typeof ceilingsSchema>;
