/** What the bench and the process that hosts the platform say to each other over IPC. */
import { z } from 'zod';
import { nodeStatusSchema } from '#shared/contracts/nodes.ts';

export const hostOptionsSchema = z.object({
  dataDir: z.string(),
  gatewayPort: z.literal(0),
  controlPort: z.literal(0),
  gateways: z.number().int(),
  sandbox: z.enum(['auto', 'required', 'off']),
  egressAllowPrivate: z.array(z.string()).default([]),
  settings: z.record(z.string(), z.string()).default({}),
});
export const hostRequestSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('status') }),
  z.object({ type: z.literal('close') }),
]);
export const fromHostSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('ready'),
    gatewayUrl: z.string(),
    controlUrl: z.string(),
    credentialsPath: z.string(),
    pids: z.record(z.string(), z.number().int()),
  }),
  z.object({ type: z.literal('status'), status: nodeStatusSchema }),
  z.object({ type: z.literal('failed'), message: z.string() }),
]);
export type HostOptions = z.input<typeof hostOptionsSchema>;
export type FromHost = z.infer<typeof fromHostSchema>;
