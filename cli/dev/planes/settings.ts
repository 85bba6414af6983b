/** What the session tells its gateway while both run, over Node's IPC channel. */
import { z } from 'zod';

export const AUTH_MODES = ['as-deployed', 'off'] as const;
export type AuthMode = (typeof AUTH_MODES)[number];

export const gatewaySettingsSchema = z.object({
  type: z.literal('dev-settings'),
  /** `off`: who is refused is let in as the pretended caller. */
  auth: z.enum(AUTH_MODES),
  /** Claims of the pretended caller, beside those that a token of the function would have. */
  claims: z.record(z.string(), z.json()),
  /** Function that answers at the bare host. */
  main: z.string().optional(),
  /** Said again by the gateway when it holds. */
  revision: z.number(),
});
export type GatewaySettings = z.infer<typeof gatewaySettingsSchema>;

/** One request that is over, as a line on the gateway's stdout. */
const exchangeSchema = z.object({
  event: z.literal('dev-request'),
  method: z.string(),
  host: z.string(),
  path: z.string(),
  /** Undefined: the client went before there was an answer. */
  status: z.number().optional(),
  /** False: the answer was cut off, or the client went. */
  complete: z.boolean(),
  tookMs: z.number(),
  /** A browser asked whether a page of that origin may call the function at that host. */
  preflight: z.object({ host: z.string(), origin: z.string() }).optional(),
});
export type Exchange = z.infer<typeof exchangeSchema>;

/** The gateway let a caller not in, as a line on its stdout before the one of the request. */
const refusedSchema = z.object({ event: z.literal('dev-refused') });
export type Refused = z.infer<typeof refusedSchema>;

/** These settings hold for every request from now on, as a line on the gateway's stdout. */
const settledSchema = z.object({ event: z.literal('dev-settled'), revision: z.number() });
export type Settled = z.infer<typeof settledSchema>;

/** A debugger can attach to an instance, as a line on the node's stdout. */
const inspectableSchema = z.object({
  event: z.literal('dev-inspectable'),
  functionName: z.string(),
  version: z.number(),
  port: z.number(),
});
export type Inspectable = z.infer<typeof inspectableSchema>;

export const planeLineSchema = z.discriminatedUnion('event', [
  exchangeSchema,
  refusedSchema,
  settledSchema,
  inspectableSchema,
]);
