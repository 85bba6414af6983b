/** Which web pages of other origins may call a function from a browser; answered by the gateway (Fetch standard). */
import { z } from 'zod';

const MAX_AGE_MS_DEFAULT = 600_000;
/** Browsers keep preflight answers for a day at most. */
const MAX_AGE_MS_MAX = 86_400_000;
const ENTRIES_MAX = 100;

const originSchema = z
  .string()
  .max(300)
  .refine(isOrigin, 'an origin is a scheme and a host, such as https://app.example.com, or * for all');

function isOrigin(text: string): boolean {
  if (text === '*' || text === 'null') return true;
  try {
    return new URL(text).origin === text;
  } catch {
    return false;
  }
}

const tokenSchema = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'this is not a token of HTTP');

export const corsSchema = z
  .strictObject({
    /** Origins that may call: `https://app.example.com`, or `*` for all. */
    origins: z.array(originSchema).min(1).max(ENTRIES_MAX),
    /** Methods that may be used. `*`: any. */
    methods: z.array(tokenSchema).max(ENTRIES_MAX).default(['*']),
    /** Request headers that may be sent. `*`: any, `authorization` included. */
    headers: z.array(tokenSchema).max(ENTRIES_MAX).default(['*']),
    /** Response headers that scripts may read beside the common ones. */
    exposedHeaders: z.array(tokenSchema).max(ENTRIES_MAX).default([]),
    /** Whether cookies may be sent along. */
    credentials: z.boolean().default(false),
    /** How long a browser may remember the answer to a preflight, in ms. */
    maxAgeMs: z.number().int().min(0).max(MAX_AGE_MS_MAX).default(MAX_AGE_MS_DEFAULT),
  })
  .refine(
    ({ origins, credentials }) => !(credentials && (origins.includes('*') || origins.includes('null'))),
    {
      path: ['origins'],
      message:
        'with credentials each origin must be named: * and null (any sandboxed frame) would let every page act for its visitors',
    },
  );

export type Cors = z.infer<typeof corsSchema>;
