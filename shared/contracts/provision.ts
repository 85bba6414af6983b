/** Instances that an alias keeps ready. */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';

const clockTime = z.string().regex(/^(?:[01][0-9]|2[0-3]):[0-5][0-9]$/, 'use HH:MM, 00:00 to 23:59');

/** Days and times are UTC; `from` after `to` runs over midnight. */
const provisionWindowSchema = z.strictObject({
  /** 0 is Sunday. */
  days: z.array(z.number().int().min(0).max(6)).min(1).max(7),
  from: clockTime,
  to: clockTime,
  instances: z.number().int().min(0).max(LIMITS.provisionedMax),
});

/** The largest of `instances` and all windows that are open is kept ready; more start on demand. */
export const provisionSchema = z.strictObject({
  instances: z.number().int().min(0).max(LIMITS.provisionedMax).default(0),
  schedule: z.array(provisionWindowSchema).max(50).default([]),
});

export type Provision = z.infer<typeof provisionSchema>;
