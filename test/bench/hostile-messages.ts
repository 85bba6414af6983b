/** What the bench and the process of the hostile account say to each other over IPC. */
import { z } from 'zod';

export const factsSchema = z.object({
  gatewayUrl: z.string(),
  controlUrl: z.string(),
  /** Of a server that functions may reach. */
  serverPort: z.number().int(),
  /** Of an owner of the hostile account. */
  key: z.object({ keyId: z.string(), algorithm: z.literal('ed25519'), secret: z.string() }),
});
export const toHostileSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('start'), attack: z.string() }),
  z.object({ type: z.literal('stop') }),
]);
export const fromHostileSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('started') }),
  /** How often the attack was answered, by status and code; `tries` counts what it sent. */
  z.object({ type: z.literal('stopped'), counts: z.record(z.string(), z.number().int()) }),
  z.object({ type: z.literal('failed'), message: z.string() }),
]);
export type Facts = z.infer<typeof factsSchema>;
export type FromHostile = z.infer<typeof fromHostileSchema>;
