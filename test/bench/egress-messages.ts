/** What the bench and the two processes of its part `egress` say to each other over IPC. */
import { z } from 'zod';

export const toEgressSchema = z.discriminatedUnion('type', [
  /** Serves; answers `listening`. */
  z.object({ type: z.literal('serve') }),
  /** Fetches `url` with `connections` at once; answers `fetched`. */
  z.object({
    type: z.literal('fetch'),
    url: z.string(),
    connections: z.number().int(),
    durationMs: z.number(),
  }),
  z.object({ type: z.literal('count') }),
]);
export const fromEgressSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('listening'), port: z.number().int() }),
  z.object({ type: z.literal('fetched'), perSecond: z.number() }),
  z.object({ type: z.literal('counted'), requests: z.number().int(), openSockets: z.number().int() }),
]);
export type ToEgress = z.infer<typeof toEgressSchema>;
export type FromEgress = z.infer<typeof fromEgressSchema>;
