/** Settings of a gateway, from the environment. */
import { z } from 'zod';

/** Which headers proxies write; those of the other kind pass through them unread, so they are never believed. */
const FORWARDED_KINDS = ['x-forwarded', 'forwarded'] as const;
export type ForwardedKind = (typeof FORWARDED_KINDS)[number];

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
  /** Addresses and CIDR blocks, separated by commas, whose word about the client is believed. Default: nobody's. */
  ISOPLANE_TRUSTED_PROXIES: z
    .string()
    .default('')
    .transform((list) =>
      list
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== ''),
    )
    .pipe(
      z.array(
        z.union(
          [z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()],
          'write addresses or CIDR blocks such as 10.0.0.0/8',
        ),
      ),
    ),
  /** Which headers these proxies write: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239). */
  ISOPLANE_FORWARDED_HEADER: z.enum(FORWARDED_KINDS).default('x-forwarded'),
  /** Connections that may be open; shared/shares.ts says how many of them one client may have. */
  ISOPLANE_CONNECTIONS_MAX: z.coerce.number().int().min(2).max(1_000_000).default(32_768),
  /** Signatures that are remembered; shared/shares.ts says how many of them may be those of one account. */
  ISOPLANE_NONCES_MAX: z.coerce.number().int().min(2).max(20_000_000).default(2_000_000),
});
