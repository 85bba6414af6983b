/**
 * Control → scheduler (Unix socket): what the control API shows of running functions. Nothing depends on the
 * answer: control leaves it out when there is none in time.
 *
 *   GET /v1/functions/ACCOUNT/FUNCTION → FunctionLife; of an unknown function, one without instances
 *   GET /v1/held?account=ACCOUNT       → HeldList
 */
import { z } from 'zod';
import { aliasNameSchema, versionIdSchema } from '../ids.ts';

const count = z.number().int().min(0);

/** No new instance of the version is started for now. */
const heldVersionSchema = z.object({
  version: versionIdSchema,
  /** `quarantined`, or the code with which its last start failed. */
  code: z.string(),
  /** Of a quarantine: how the last process ended. */
  reason: z.string().optional(),
  /** Until one more start is tried. A duration, because the planes' clocks need not agree. */
  retryAfterMs: count,
  /** How often in a row: each time the pause doubles. */
  count,
});

export const heldListSchema = z.object({ items: z.array(heldVersionSchema).max(1_000) });

export const functionLifeSchema = z.object({
  aliases: z.array(
    z.object({
      name: aliasNameSchema,
      /** Instances that the alias asks for right now. */
      target: count,
      /** How many of them are ready. */
      ready: count,
    }),
  ),
  versions: z.array(
    z.object({
      version: versionIdSchema,
      starting: count,
      ready: count,
      draining: count,
      stopping: count,
    }),
  ),
  held: z.array(heldVersionSchema),
});

export type HeldVersion = z.infer<typeof heldVersionSchema>;
export type HeldList = z.infer<typeof heldListSchema>;
export type FunctionLife = z.infer<typeof functionLifeSchema>;
