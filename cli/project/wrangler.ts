/** A wrangler configuration, read whole, in the form of isoplane.jsonc. Pure. */
import { z } from 'zod';
import { functionNameSchema, kvNamespaceNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Problem } from '../failure.ts';
import { RULE_TYPES } from './project.ts';
import { ignoredKeys, isEmpty, unsupportedOf } from './wrangler-keys.ts';

/** TOML has dates of its own. */
const dateSchema = z.union([z.string(), z.date().transform((date) => date.toISOString().slice(0, 10))]);
const maybe = <S extends z.ZodType>(schema: S) => schema.nullish().transform((value) => value ?? undefined);

const rateLimitSchema = z.looseObject({
  name: z.string(),
  namespace_id: z.union([z.string(), z.number()]).transform(String),
  simple: z.looseObject({ limit: z.number(), period: z.number() }),
});

const wranglerSchema = z.looseObject({
  name: maybe(z.string()),
  main: maybe(z.string()),
  assets: maybe(z.looseObject({})),
  compatibility_date: maybe(dateSchema),
  compatibility_flags: maybe(z.array(z.string())),
  vars: maybe(z.record(z.string(), z.json())),
  rules: maybe(z.array(z.looseObject({ type: z.string(), globs: z.array(z.string()) }))),
  services: maybe(
    z.array(
      z.looseObject({
        binding: z.string(),
        service: z.string(),
        entrypoint: maybe(z.string()),
        environment: maybe(z.string()),
        props: z.unknown().optional(),
      }),
    ),
  ),
  kv_namespaces: maybe(z.array(z.looseObject({ binding: z.string(), id: maybe(z.string()) }))),
  version_metadata: maybe(z.looseObject({ binding: z.string() })),
  ratelimits: maybe(z.array(rateLimitSchema)),
  unsafe: maybe(z.looseObject({ bindings: maybe(z.array(z.looseObject({ type: maybe(z.string()) }))) })),
  alias: maybe(z.record(z.string(), z.string())),
  define: maybe(z.record(z.string(), z.string())),
  no_bundle: maybe(z.boolean()),
  find_additional_modules: maybe(z.boolean()),
  base_dir: maybe(z.string()),
  minify: maybe(z.boolean()),
  tsconfig: maybe(z.string()),
  jsx_factory: maybe(z.string()),
  jsx_fragment: maybe(z.string()),
  limits: maybe(z.looseObject({ cpu_ms: maybe(z.number()) })),
  build: maybe(
    z.looseObject({
      command: maybe(z.string()),
      cwd: maybe(z.string()),
      watch_dir: maybe(z.union([z.string().transform((folder) => [folder]), z.array(z.string())])),
    }),
  ),
});
type Wrangler = z.output<typeof wranglerSchema>;

export interface Translated {
  /** In the form of isoplane.jsonc, not yet checked against its schema. */
  readonly value: Readonly<Record<string, unknown>>;
  readonly warnings: readonly string[];
  readonly unsupported: readonly Problem[];
}

export interface TranslationOptions {
  readonly fileName: string;
  /** Of `env.NAME`. */
  readonly environment?: string | undefined;
  /** Taken when the file names no function: of package.json or of the folder. */
  readonly fallbackName: string;
  /** Taken when the file has none. */
  readonly fallbackDate: string;
  /** Where a key stands. */
  readonly at: (key: string) => string;
}

export type Translation =
  | { readonly ok: true; readonly translated: Translated }
  | { readonly ok: false; readonly error: z.ZodError }
  | { readonly ok: false; readonly problem: Problem };

/** Of an environment these do not come from the top: wrangler's documentation calls them non-inheritable. */
const NOT_INHERITED = [
  'define',
  'vars',
  'kv_namespaces',
  'services',
  'durable_objects',
  'd1_databases',
  'r2_buckets',
  'queues',
  'workflows',
  'vectorize',
  'hyperdrive',
  'ai',
  'analytics_engine_datasets',
  'browser',
  'containers',
  'dispatch_namespaces',
  'images',
  'mtls_certificates',
  'pipelines',
  'ratelimits',
  'secrets_store_secrets',
  'send_email',
  'tail_consumers',
  'unsafe',
  'version_metadata',
];

/** The settings of one environment, with its own name for the function. */
function ofEnvironment(
  content: Readonly<Record<string, unknown>>,
  environment: string,
): Readonly<Record<string, unknown>> | undefined {
  const all: unknown = content['env'];
  const own: unknown = typeof all === 'object' && all !== null ? Reflect.get(all, environment) : undefined;
  if (typeof own !== 'object' || own === null) return undefined;
  const inherited = Object.entries(content).filter(([key]) => !NOT_INHERITED.includes(key) && key !== 'env');
  const { name } = content;
  return {
    ...Object.fromEntries(inherited),
    ...(typeof name === 'string' ? { name: `${name}-${environment}` } : {}),
    ...own,
  };
}

/** A name that can be an address; wrangler also takes underscores, and templates hold placeholders. */
export function asFunctionName(text: string): string {
  const name = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 63)
    // No two stand beside each other any more.
    .replace(/-$/, '');
  return name === '' ? 'worker' : name;
}

/**
 * The namespace that an id stands for. Cloudflare's ids are 32 hexadecimal digits: functions that share one share
 * the namespace here as well. A name of this platform may stand in its place.
 */
function namespaceOf(binding: string, id: string | undefined, functionName: string): string {
  if (id !== undefined && /^[0-9a-f]{32}$/.test(id)) return `kv-${id}`;
  if (id !== undefined && kvNamespaceNameSchema.safeParse(id).success) return id;
  return asFunctionName(`${functionName}-${binding}`);
}

function rulesOf(wrangler: Wrangler, warn: (text: string) => void) {
  return (wrangler.rules ?? []).flatMap(({ type, globs }) => {
    if ((RULE_TYPES as readonly string[]).includes(type)) return [{ type, globs }];
    warn(`ignored a rule of type ${type}`);
    return [];
  });
}

function limitsOf({ limits }: Wrangler, warn: (text: string) => void) {
  const cpuMs = limits?.cpu_ms;
  if (cpuMs === undefined) return {};
  if (cpuMs > LIMITS.cpuMsMax) warn(`limits.cpu_ms is ${cpuMs}; at most ${LIMITS.cpuMsMax} are given`);
  const taken = Math.max(10, Math.min(cpuMs, LIMITS.cpuMsMax));
  return {
    limits: {
      cpuMs: taken,
      ...(taken > LIMITS.timeoutMsDefault ? { timeoutMs: Math.min(taken, LIMITS.timeoutMsMax) } : {}),
    },
  };
}

function buildOf({ build }: Wrangler) {
  if (build === undefined || isEmpty(build.command)) return {};
  const { command, cwd, watch_dir: watch } = build;
  return {
    build: { command, ...(cwd === undefined ? {} : { cwd }), ...(watch === undefined ? {} : { watch }) },
  };
}

const SAME: readonly (readonly [string, string])[] = [
  ['main', 'main'],
  ['assets', 'assets'],
  ['compatibility_flags', 'compatibilityFlags'],
  ['vars', 'vars'],
  ['alias', 'alias'],
  ['define', 'define'],
  ['no_bundle', 'noBundle'],
  ['find_additional_modules', 'findAdditionalModules'],
  ['base_dir', 'baseDir'],
  ['minify', 'minify'],
  ['tsconfig', 'tsconfig'],
  ['jsx_factory', 'jsxFactory'],
  ['jsx_fragment', 'jsxFragment'],
];

function valueOf(
  wrangler: Wrangler,
  { fallbackName, fallbackDate }: TranslationOptions,
  warn: (text: string) => void,
): Record<string, unknown> {
  const given = wrangler.name ?? fallbackName;
  const name = functionNameSchema.safeParse(given).success ? given : asFunctionName(given);
  if (name !== given) warn(`the name ${JSON.stringify(given)} cannot be an address: the function is ${name}`);
  if (wrangler.compatibility_date === undefined)
    warn(`no compatibility_date: ${fallbackDate} is taken; write it down, a later one may change behaviour`);
  return {
    ...Object.fromEntries(
      SAME.flatMap(([from, to]) => (wrangler[from] === undefined ? [] : [[to, wrangler[from]]])),
    ),
    name,
    compatibilityDate: wrangler.compatibility_date ?? fallbackDate,
    rules: rulesOf(wrangler, warn),
    ...limitsOf(wrangler, warn),
    ...buildOf(wrangler),
    services: (wrangler.services ?? []).map(({ binding, service, entrypoint, environment }) => ({
      binding,
      function: asFunctionName(environment === undefined ? service : `${service}-${environment}`),
      ...(entrypoint === undefined || entrypoint === 'default' ? {} : { entrypoint }),
    })),
    kv: (wrangler.kv_namespaces ?? []).map(({ binding, id }) => ({
      binding,
      namespace: namespaceOf(binding, id, name),
    })),
    rateLimits: (wrangler.ratelimits ?? []).map(({ name: binding, namespace_id, simple }) => ({
      binding,
      limit: simple.limit,
      periodSeconds: simple.period,
      namespace: namespace_id,
    })),
    ...(wrangler.version_metadata === undefined
      ? {}
      : { versionMetadata: { binding: wrangler.version_metadata.binding } }),
  };
}

/** Before `ratelimits` there was a form among the unsafe bindings, which are refused otherwise. */
function olderRateLimits(
  given: Wrangler,
): { readonly ok: true; readonly wrangler: Wrangler } | { readonly ok: false; readonly error: z.ZodError } {
  const { bindings = [], ...unsafe } = given.unsafe ?? {};
  const isOlder = ({ type }: { readonly type?: string | undefined }): boolean => type === 'ratelimit';
  const older = z.array(rateLimitSchema).safeParse(bindings.filter(isOlder));
  if (!older.success) return { ok: false, error: older.error };
  return {
    ok: true,
    wrangler: {
      ...given,
      ratelimits: [...(given.ratelimits ?? []), ...older.data],
      unsafe: { ...unsafe, bindings: bindings.filter((each) => !isOlder(each)) },
    },
  };
}

export function translateWrangler(given: unknown, options: TranslationOptions): Translation {
  const { environment, fileName, at } = options;
  let content = given;
  const top = typeof given === 'object' && given !== null ? (given as Record<string, unknown>) : {};
  if (environment !== undefined) {
    const own = ofEnvironment(top, environment);
    if (own === undefined) {
      const names = typeof top['env'] === 'object' && top['env'] !== null ? Object.keys(top['env']) : [];
      const there = names.length === 0 ? 'it has no environments' : `it has ${names.join(', ')}`;
      return {
        ok: false,
        problem: { at: at('env'), message: `env: there is no environment ${environment}; ${there}` },
      };
    }
    content = own;
  }
  const parsed = wranglerSchema.safeParse(content);
  if (!parsed.success) return { ok: false, error: parsed.error };
  const older = olderRateLimits(parsed.data);
  if (!older.ok) return older;
  const { wrangler } = older;
  const warnings: string[] = [];
  const warn = (text: string): void => void warnings.push(`${fileName}: ${text}`);
  const value = valueOf(wrangler, options, warn);
  if (environment === undefined && !isEmpty(top['env']))
    warn(`the top level is deployed; --env takes one of ${Object.keys(top['env'] as object).join(', ')}`);
  const ignored = ignoredKeys(wrangler);
  for (const key of ['route', 'routes'].filter((each) => ignored.includes(each)))
    warn(`${key}: not taken from here; \`isoplane routes add\` makes routes`);
  const rest = ignored.filter((key) => key !== 'route' && key !== 'routes');
  if (rest.length > 0) warn(`ignored ${rest.join(', ')}: nothing here reads that`);
  const props = (wrangler.services ?? []).filter(({ props: given }) => !isEmpty(given));
  return {
    ok: true,
    translated: {
      value,
      warnings,
      unsupported: [
        ...unsupportedOf(wrangler, at),
        ...props.map(({ binding }) => ({
          at: at('services'),
          message: `services (${binding}): props are not passed on`,
        })),
        ...(wrangler.main?.endsWith('.py') === true
          ? [{ at: at('main'), message: 'main: Python is not run' }]
          : []),
      ],
    },
  };
}
