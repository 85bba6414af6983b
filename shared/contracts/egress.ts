/**
 * What a version may reach over the network. Rules are data: control stores them, the node's egress proxy
 * obeys them (nodes/attachments/egress).
 *
 * Whatever the rules say, loopback, private, link-local and metadata addresses are never reached: the
 * proxy looks at the address after resolution.
 */
import { z } from 'zod';
import { secretNameSchema } from '../ids.ts';

/**
 * `api.example.com`, `*.example.com` (subdomains only), `*`, or a literal IP address; `:port` narrows it to
 * one port, else 80 and 443 are meant. IPv6 in brackets.
 */
export const hostPatternSchema = z
  .string()
  .max(300)
  .regex(
    /^(?:\*|(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*|\[[0-9a-f:.]+\])(?::(?:\*|[1-9][0-9]{0,4}))?$/,
    'use a lower-case host like api.example.com, *.example.com, 203.0.113.7 or [2001:db8::1], with an optional :port or :*',
  );

/** Frame requests, or belong to the platform: never from configuration. */
const RESERVED_HEADER =
  /^(?:host|connection|keep-alive|te|trailer|transfer-encoding|content-length|upgrade|expect|proxy-.*|isoplane-.*)$/i;

/**
 * Puts a header on requests to some hosts; the function never sees the value. Without a port it goes out over
 * TLS on 443 alone, so that a secret leaves in the clear only where its owner named the port.
 */
const egressHeaderSchema = z.strictObject({
  /** Requests to it get the header; it must be allowed as well. */
  host: hostPatternSchema,
  /** Name of the header. */
  header: z
    .string()
    .regex(/^[A-Za-z0-9-]{1,100}$/, 'use letters, digits and hyphens')
    .refine((name) => !RESERVED_HEADER.test(name), 'this header belongs to the connection or the platform'),
  /** Name of a secret of the account. */
  secret: secretNameSchema,
  /** Before the secret, for example `Bearer `. */
  prefix: z
    .string()
    .max(100)
    .regex(/^[\x20-\x7e]*$/, 'use printable ASCII')
    .default(''),
});

export const egressRulesSchema = z.strictObject({
  /** A host must match one of these, and none of `deny`, where a pattern without a port means every port. */
  allow: z.array(hostPatternSchema).max(100).default(['*']),
  /** Hosts that are refused though `allow` has them. */
  deny: z.array(hostPatternSchema).max(100).default([]),
  /** Headers with secrets, added on the way out: the function never sees them. */
  headers: z.array(egressHeaderSchema).max(20).default([]),
});

/**
 * What the function may reach over the network: `none`, `public` (ports 80 and 443 of every public host), or
 * rules. Default: `public` for style `module`, `none` for style `event`.
 *
 * @example "none"
 * @example { "allow": ["api.example.com", "*.example.org:8443"], "deny": ["old.example.org"] }
 * @example { "allow": ["api.example.com"], "headers": [{ "host": "api.example.com", "header": "authorization", "prefix": "Bearer ", "secret": "api-key" }] }
 */
export const egressSchema = z.union([z.enum(['none', 'public']), egressRulesSchema]);

export type EgressRules = z.infer<typeof egressRulesSchema>;
export type EgressHeader = z.infer<typeof egressHeaderSchema>;

const NOTHING: EgressRules = { allow: [], deny: [], headers: [] };
const PUBLIC: EgressRules = { allow: ['*'], deny: [], headers: [] };

/** The rules in force. Without any, HTTP functions reach public hosts and event functions nothing. */
export function egressRulesOf(config: {
  readonly style: 'module' | 'event' | 'service-worker';
  readonly egress?: z.infer<typeof egressSchema> | undefined;
}): EgressRules {
  const egress = config.egress ?? (config.style === 'event' ? 'none' : 'public');
  if (egress === 'none') return NOTHING;
  return egress === 'public' ? PUBLIC : egress;
}
