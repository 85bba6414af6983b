/** Settings of a gateway, from the environment. */
import { z } from 'zod';

export const gatewayEnvironmentSchema = z.object({
  ISOPLANE_DATA_DIR: z.string().min(1).default('.isoplane'),
  /** Unique among the gateways of a platform; names the snapshot file. */
  ISOPLANE_GATEWAY_ID: z
    .string()
    .regex(/^[a-z0-9-]{1,100}$/)
    .default('gateway-1'),
  ISOPLANE_GATEWAY_HOST: z.string().min(1).default('127.0.0.1'),
  /** 0 takes any free port. */
  ISOPLANE_GATEWAY_PORT: z.coerce.number().int().min(0).max(65_535).default(8787),
  ISOPLANE_BASE_DOMAIN: z.string().min(1).toLowerCase().default('localhost'),
  /** 1: several gateways listen on one port and the kernel spreads connections. */
  ISOPLANE_GATEWAY_REUSE_PORT: z.enum(['0', '1']).default('0'),
});
