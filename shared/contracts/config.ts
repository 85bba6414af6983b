/**
 * Configuration of one version, as the user writes it (isoplane.jsonc), the control plane stores it and
 * the other planes obey it. One schema gives the type, the check and the published documentation.
 */
import { z } from 'zod';
import { storedPath } from '../http/target.ts';
import { layerNameSchema, versionNumberSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { assetsConfigSchema } from './assets.ts';
import {
  entrypointNameSchema,
  kvBindingsSchema,
  rateLimitsSchema,
  servicesSchema,
  versionMetadataSchema,
} from './bindings.ts';
import { corsSchema } from './cors.ts';
import { egressSchema } from './egress.ts';
import { secretBindingsSchema } from './secrets.ts';
import { JWT_ALGORITHMS, jwksSchema } from './jwks.ts';

/**
 * Who may call the function. `signed` is the default: nothing unauthenticated reaches code by accident.
 *
 * @example { "mode": "signed" }
 * @example { "mode": "public" }
 * @example { "mode": "jwt", "issuer": "https://id.example.com", "audience": "orders", "jwks": { "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "2026", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] } }
 */
export const authSchema = z.discriminatedUnion('mode', [
  z.strictObject({
    /** Callers sign each request with a key of the account (docs/signing.md). */
    mode: z.literal('signed'),
  }),
  z.strictObject({
    /** Everyone. */
    mode: z.literal('public'),
  }),
  z.strictObject({
    /** Holders of a token of this issuer for this audience. */
    mode: z.literal('jwt'),
    /** Keys that may sign tokens. Absent: the account's issuer is used. */
    jwks: jwksSchema.optional(),
    /** Required `iss`. Absent with `jwks` absent: the account's issuer. */
    issuer: z.string().min(1).max(1_024).optional(),
    /** Required `aud`; a token meant for another service is refused. */
    audience: z.string().min(1).max(1_024),
    /** Accepted signatures. Absent: what fits the keys. */
    algorithms: z.array(z.enum(JWT_ALGORITHMS)).min(1).optional(),
    /**
     * Query parameter that may hold the token of a GET where no header can be set (EventSource). The function does
     * not see it, but URLs are remembered by browsers and proxies: keep such tokens short-lived.
     */
    tokenQuery: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, 'use 1 to 64 letters, digits, _ and -')
      .optional(),
  }),
]);

/** An exact path, or everything below one: `/admin/*`. Compared with the normalised path, in which `%61` is `a`. */
const pathPatternSchema = z
  .string()
  .min(1)
  .max(1_024)
  .superRefine((given, context) => {
    const stored = storedPath(given);
    if ('problem' in stored) context.addIssue({ code: 'custom', message: stored.problem });
    else if (stored.path !== given)
      context.addIssue({
        code: 'custom',
        message: `write ${stored.path}, the form in which paths are compared`,
      });
  });

export const authByPathSchema = z
  .array(z.strictObject({ path: pathPatternSchema, auth: authSchema }))
  .max(LIMITS.authPathsMax)
  .refine(
    (rules) => new Set(rules.map(({ path }) => path)).size === rules.length,
    'each path may stand there once',
  );

const bounded = (min: number, max: number, fallback: number): z.ZodDefault<z.ZodNumber> =>
  z.number().int().min(min).max(max).default(fallback);

/**
 * What one request and one instance may use. What is left out has its default, or the account's ceiling where that is
 * lower; what is set above a ceiling is refused.
 *
 * @example { "cpuMs": 200, "timeoutMs": 5000, "memoryMb": 64 }
 */
export const limitsSchema = z.strictObject({
  /** CPU time one request may use, in ms. Over it the instance is killed and the caller gets `cpu_exceeded`. */
  cpuMs: bounded(10, LIMITS.cpuMsMax, LIMITS.cpuMsDefault),
  /** Wall time until the response head, in ms. Over it the call is cancelled and answered `timeout`. */
  timeoutMs: bounded(10, LIMITS.timeoutMsMax, LIMITS.timeoutMsDefault),
  /** Memory of one instance, in MB: JavaScript heap, ArrayBuffers and wasm. */
  memoryMb: bounded(LIMITS.memoryMbMin, LIMITS.memoryMbMax, LIMITS.memoryMbDefault),
  /** Largest body of a request, in bytes; more is answered `body_too_large`. */
  requestBodyBytes: bounded(0, LIMITS.requestBodyBytesMax, LIMITS.requestBodyBytesDefault),
  /** Longest silence on an open response stream or WebSocket, in ms. */
  streamIdleMs: bounded(100, LIMITS.streamIdleMsMax, LIMITS.streamIdleMsDefault),
  /** Outbound requests that one request may cause. */
  subrequests: bounded(0, LIMITS.subrequestsMax, LIMITS.subrequestsDefault),
  /** Outbound connections that one instance may have open. */
  connections: bounded(1, LIMITS.connectionsMax, LIMITS.connectionsDefault),
  /** What the function may log per second on one node, in bytes; more is dropped, counted and said. */
  logBytesPerSecond: bounded(1_024, LIMITS.logBytesPerSecondMax, LIMITS.logBytesPerSecondMax),
});

/** `shared`: an instance serves many requests. `request`: one, then it ends. `session`: those of one session. */
const ISOLATIONS = ['shared', 'request', 'session'] as const;

/** Headers that frame or route a message, or that others read: a session id must not stand in them. */
const NO_SESSION_HEADERS = new Set(
  (
    'accept-encoding authorization connection content-encoding content-length content-type cookie date expect ' +
    'host keep-alive location proxy-authorization set-cookie te trailer transfer-encoding upgrade'
  ).split(' '),
);

const sessionSchema = z.strictObject({
  /** Where the session id travels. */
  by: z.enum(['cookie', 'header']),
  /** Of the cookie or header that carries the session id. A request without one begins a session. */
  name: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9_-]{1,63}$/, 'use 2 to 64 letters, digits, _ and -')
    .refine(
      (name) => !name.toLowerCase().startsWith('isoplane-') && !NO_SESSION_HEADERS.has(name.toLowerCase()),
      'this name is reserved',
    ),
});

/**
 * How many instances run, for how long, and who shares one.
 *
 * @example { "concurrency": 16, "maxInstances": 8, "idleTimeoutMs": 300000 }
 * @example { "isolation": "session", "session": { "by": "header", "name": "x-session" }, "maxAgeMs": 3600000 }
 */
export const scalingSchema = z.strictObject({
  /** Requests one instance may handle at once. */
  concurrency: bounded(1, LIMITS.concurrencyMax, LIMITS.concurrencyDefault),
  /** Instances of the function at most, over all nodes. */
  maxInstances: bounded(1, LIMITS.maxInstancesMax, LIMITS.maxInstancesDefault),
  /** Requests that may wait for an instance; one more is answered `queue_full`. */
  queueDepth: bounded(0, LIMITS.queueDepthMax, LIMITS.queueDepthDefault),
  /** Longest wait for an instance, in ms; then `queue_timeout`. */
  queueTimeoutMs: bounded(10, LIMITS.queueTimeoutMsMax, LIMITS.queueTimeoutMsDefault),
  /** An instance without requests for this long is stopped, in ms. */
  idleTimeoutMs: bounded(100, LIMITS.idleTimeoutMsMax, LIMITS.idleTimeoutMsDefault),
  /** `shared`: an instance serves many requests. `request`: one, then it ends. `session`: those of one session. */
  isolation: z.enum(ISOLATIONS).default('shared'),
  /** How a session is known. Default with isolation `session`: cookie `isoplane_session`. */
  session: sessionSchema.optional(),
  /** An instance ends after this many requests. */
  maxRequests: z.number().int().min(1).max(LIMITS.requestsPerInstanceMax).optional(),
  /** An instance takes no new request after this long, in ms. */
  maxAgeMs: z.number().int().min(LIMITS.instanceAgeMsMin).max(LIMITS.instanceAgeMsMax).optional(),
  /**
   * Some seconds after the last alias has left the version its instances are drained: requests in flight may
   * go on for this long then, in ms.
   */
  drainMs: bounded(0, LIMITS.drainMsMax, LIMITS.drainMsDefault),
});

const hookSchema = z.strictObject({
  /** Longest run of the hook, in ms. */
  timeoutMs: bounded(10, LIMITS.hookTimeoutMsMax, LIMITS.hookTimeoutMsDefault),
});
/**
 * Functions of the module that the platform calls, and nobody else can.
 *
 * @example { "init": { "timeoutMs": 2000 }, "preStop": {} }
 */
export const hooksSchema = z.strictObject({
  /** The module exports `init(env)`: run once in each instance before its first request. */
  init: hookSchema.optional(),
  /** The module exports `preStop(env)`: run once before an instance is stopped. */
  preStop: hookSchema.optional(),
});

/** `strict`: an own user id, smaller limits and a slot made for this instance alone. */
export const TIERS = ['standard', 'strict'] as const;

/**
 * Values that the code finds in `env`, of any JSON type. Stored in plain: for secrets there is `isoplane secrets`.
 *
 * @example { "GREETING": "Hello", "FEATURES": { "beta": true } }
 */
export const varsSchema = z.record(
  z
    .string()
    .regex(
      /^[A-Za-z_][A-Za-z0-9_]{0,127}$/,
      'a variable name is a JavaScript identifier of at most 128 characters',
    )
    .refine((name) => name !== '__proto__', 'no object has a member of that name'),
  z.json(),
);

const layerRefSchema = z.strictObject({
  /** Of a layer of the account. */
  name: layerNameSchema,
  /** Layers never move by themselves. */
  version: versionNumberSchema,
});

export const STYLES = ['module', 'event', 'service-worker'] as const;

export const functionConfigSchema = z.strictObject({
  /**
   * `module`: `export default { fetch }` or a class entrypoint. `event`: `export const handler`. `service-worker`:
   * `addEventListener('fetch', …)` with bindings as globals; `deploy` recognises it in projects of wrangler.
   *
   * @example "event"
   */
  style: z.enum(STYLES).default('module'),
  /**
   * The behaviour of the runtime at this date is kept for ever.
   *
   * @example "2026-11-01"
   */
  compatibilityDate: z.string().regex(/^\d{4}-\d{2}-\d{2}$/, 'use YYYY-MM-DD'),
  /**
   * Single behaviours of the runtime, on or off apart from the date.
   *
   * @example ["nodejs_compat"]
   */
  compatibilityFlags: z.array(z.string().min(1).max(100)).max(50).default([]),
  vars: varsSchema.default({}),
  auth: authSchema.default({ mode: 'signed' }),
  /**
   * Other rules for some paths: an exact path or a prefix `/admin/*`. The longest that fits wins; elsewhere `auth` holds.
   *
   * @example [{ "path": "/admin/*", "auth": { "mode": "jwt", "audience": "admin" } }, { "path": "/health", "auth": { "mode": "public" } }]
   */
  authByPath: authByPathSchema.default([]),
  /**
   * Lets web pages of other origins call the function. Absent: the function answers preflights itself.
   *
   * @example { "origins": ["https://app.example.com"], "credentials": true }
   */
  cors: corsSchema.optional(),
  /**
   * `false`: only routes lead to the function, its own host `FUNCTION.DOMAIN` does not.
   *
   * @example false
   */
  defaultHost: z.boolean().default(true),
  limits: limitsSchema.prefault({}),
  scaling: scalingSchema.prefault({}),
  /**
   * Modules that the code imports from `/opt/`. First listed wins where two layers hold the same module.
   *
   * @example [{ "name": "greet", "version": 1 }]
   */
  layers: z.array(layerRefSchema).max(LIMITS.layersPerFunctionMax).default([]),
  egress: egressSchema.optional(),
  services: servicesSchema.default([]),
  kv: kvBindingsSchema.default([]),
  versionMetadata: versionMetadataSchema.optional(),
  rateLimits: rateLimitsSchema.default([]),
  /**
   * Secrets that the function needs in `env`: its own, or bound from the account. Its own are there without it.
   *
   * @example ["WEBHOOK_KEY", { "binding": "STRIPE", "secret": "stripe-key" }]
   */
  secrets: secretBindingsSchema.default([]),
  /** Static assets: how the files are served. Absent: there are none. */
  assets: assetsConfigSchema.optional(),
  /**
   * Exported classes that service bindings of the account may reach beside the default export. `deploy` adds every
   * exported class that extends WorkerEntrypoint, as Workers do: what is not to be reached is not exported.
   *
   * @example ["Admin"]
   */
  entrypoints: z.array(entrypointNameSchema).max(LIMITS.bindingsMax).default([]),
  hooks: hooksSchema.prefault({}),
  /**
   * `strict`: an own user id, smaller limits and a slot made for this instance alone.
   *
   * @example "strict"
   */
  tier: z.enum(TIERS).default('standard'),
});

export type Auth = z.infer<typeof authSchema>;
export type AuthByPath = z.infer<typeof authByPathSchema>;
export type JwtAuth = Extract<Auth, { mode: 'jwt' }>;
export type FunctionConfig = z.infer<typeof functionConfigSchema>;
export type FunctionConfigInput = z.input<typeof functionConfigSchema>;
export type FunctionLimits = z.infer<typeof limitsSchema>;
export type Scaling = z.infer<typeof scalingSchema>;
export type Style = (typeof STYLES)[number];
export type Hooks = z.infer<typeof hooksSchema>;
export type Tier = (typeof TIERS)[number];
