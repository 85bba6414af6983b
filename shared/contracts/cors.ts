/** Which web pages of other origins may call a function from a browser; answered by the gateway (Fetch standard). */
import { z } from 'zod';
import type { FieldProblem } from '../field-problem.ts';

const MAX_AGE_MS_DEFAULT = 600_000;
/** Browsers keep preflight answers for a day at most. */
const MAX_AGE_MS_MAX = 86_400_000;
const ENTRIES_MAX = 100;

const originSchema = z
  .string()
  .max(300)
  .superRefine((text, context) => {
    const message = formProblem(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

const FORM = 'an origin is a scheme and a host, such as https://app.example.com, or * for all';

/** Browsers send one form alone, which is compared as it is. */
function formProblem(text: string): string | undefined {
  if (text === '*' || text === 'null') return undefined;
  const origin = URL.canParse(text) ? new URL(text).origin : 'null';
  if (origin === text) return undefined;
  if (origin === 'null') return FORM;
  return text === `${origin}/`
    ? `write ${origin}: an origin has no slash at its end`
    : `write ${origin}, as browsers do: an origin is scheme, host and port alone`;
}

/**
 * What no browser sends and no pattern covers. Versions that are stored may have such an entry, which matches nothing;
 * it is refused when it is given.
 */
function patternProblem(text: string): string | undefined {
  if (text === '*' || !text.includes('*') || OF_SUBDOMAINS.test(text)) return undefined;
  return 'a * stands for everyone, or for subdomains at the beginning of a host: https://*.example.com';
}

const OF_SUBDOMAINS = /^https?:\/\/\*\.[^*]+$/;
const SUBDOMAINS = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

export function originProblems(origins: readonly string[]): readonly FieldProblem[] {
  return origins.flatMap((origin, index) => {
    const message = patternProblem(origin);
    return message === undefined ? [] : [{ path: `origins.${index}`, message }];
  });
}

/** Whether pages of an origin are meant by an entry: `https://*.example.com` means every subdomain, not the host itself. */
export function coversOrigin(entry: string, origin: string): boolean {
  if (entry === origin) return true;
  if (!OF_SUBDOMAINS.test(entry)) return false;
  const star = entry.indexOf('*');
  const [scheme, host] = [entry.slice(0, star), entry.slice(star + 1)];
  return (
    origin.startsWith(scheme) &&
    origin.endsWith(host) &&
    SUBDOMAINS.test(origin.slice(scheme.length, -host.length))
  );
}

const tokenSchema = z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'this is not a token of HTTP');

export const corsSchema = z
  .strictObject({
    /** Origins that may call: `https://app.example.com`, `https://*.example.com` for all subdomains, or `*` for all. */
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
