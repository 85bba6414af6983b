/**
 * What each key of a wrangler configuration means here. A key that is on no list is told as ignored; a binding or
 * trigger that the platform does not have is refused by name, so that nothing is "live" that answers 500.
 */
import type { Problem } from '../failure.ts';

/** Keys that say nothing about what the code does: accounts, uploads, local development, telemetry. */
const HARMLESS: ReadonlySet<string> = new Set([
  '$schema',
  'account_id',
  'assets_prefix',
  'compliance_region',
  'config_path',
  'configPath',
  'userConfigPath',
  'topLevelName',
  'definedEnvironments',
  'legacy_env',
  'dev',
  'first_party_worker',
  'keep_names',
  'keep_vars',
  'logfwdr',
  'logpush',
  'migrations',
  'observability',
  'placement',
  'preview_urls',
  'previews',
  'pages_build_output_dir',
  'preserve_file_names',
  'python_modules',
  'secrets',
  'send_metrics',
  'targetEnvironment',
  'type',
  'upload_source_maps',
  'usage_model',
  'workers_dev',
  'zone_id',
]);

/** Read by the translation, or by who called it. */
const READ: ReadonlySet<string> = new Set([
  'alias',
  'assets',
  'base_dir',
  'build',
  'compatibility_date',
  'compatibility_flags',
  'define',
  'env',
  'find_additional_modules',
  'jsx_factory',
  'jsx_fragment',
  'kv_namespaces',
  'limits',
  'main',
  'minify',
  'name',
  'no_bundle',
  'ratelimits',
  'rules',
  'services',
  'tsconfig',
  'vars',
  'version_metadata',
]);

/** What is not here yet, and why a program cannot do without. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  agent_memory: 'agent memory is a service of Cloudflare',
  ai: 'Workers AI is a service of Cloudflare',
  ai_search: 'AI Search is a service of Cloudflare',
  ai_search_namespaces: 'AI Search is a service of Cloudflare',
  analytics_engine_datasets: 'there is no Analytics Engine',
  artifacts: 'Artifacts is a service of Cloudflare',
  browser: 'Browser Rendering is a service of Cloudflare',
  cloudchamber: 'containers are not run',
  containers: 'containers are not run',
  d1_databases: 'there are no D1 databases yet',
  data_blobs: 'data blobs of the service-worker format; import the file instead',
  dispatch_namespaces: 'there are no dispatch namespaces',
  durable_objects: 'there are no Durable Objects yet',
  email: 'functions receive no email',
  flagship: 'Flagship is a service of Cloudflare',
  hyperdrive: 'there is no Hyperdrive; connect to the database through egress',
  images: 'Images is a service of Cloudflare',
  media: 'Media is a service of Cloudflare',
  mtls_certificates: 'client certificates are not supported',
  pipelines: 'there are no pipelines',
  queues: 'there are no queues yet',
  r2_buckets: 'there are no R2 buckets yet',
  secrets_store_secrets: 'there is no secrets store; use `isoplane secrets put`',
  send_email: 'functions send no email',
  site: 'Workers Sites are replaced by static assets',
  stream: 'Stream is a service of Cloudflare',
  streaming_tail_consumers: 'there are no tail workers',
  tail_consumers: 'there are no tail workers',
  text_blobs: 'text blobs of the service-worker format; import the file instead',
  triggers: 'there are no cron triggers yet',
  unsafe: 'unsafe bindings are not supported',
  vectorize: 'Vectorize is a service of Cloudflare',
  vpc_networks: 'VPC networks are a service of Cloudflare',
  vpc_services: 'VPC services are a service of Cloudflare',
  wasm_modules: 'wasm modules of the service-worker format; import the file instead',
  websearch: 'web search is a service of Cloudflare',
  worker_loaders: 'functions load no other workers',
  workflows: 'there are no workflows yet',
};

/** Keys of wrangler files as they are called in ours, by the list that they stand in. */
const CALLED_HERE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  '': {
    compatibility_date: 'compatibilityDate',
    compatibility_flags: 'compatibilityFlags',
    kv_namespaces: 'kv',
    ratelimits: 'rateLimits',
    version_metadata: 'versionMetadata',
    find_additional_modules: 'findAdditionalModules',
    base_dir: 'baseDir',
    no_bundle: 'noBundle',
    jsx_factory: 'jsxFactory',
    jsx_fragment: 'jsxFragment',
    workers_dev: 'defaultHost',
  },
  kv: { id: 'namespace', preview_id: 'namespace' },
  services: { service: 'function' },
  rateLimits: { simple: 'limit" and "periodSeconds', namespace_id: 'namespace', name: 'binding' },
  limits: { cpu_ms: 'cpuMs', subrequests: 'subrequests' },
};

/** What a key of a wrangler file is called, or has in its place, in a file of our own. */
export function wranglerHint(key: string, path: readonly (string | number)[]): string | undefined {
  const names = CALLED_HERE[String(path[0] ?? '')];
  if (names !== undefined && Object.hasOwn(names, key)) return `here it is "${names[key]}"`;
  if (path.length > 0) return undefined;
  if (key === 'routes' || key === 'route')
    return 'routes are made by a command: isoplane routes add HOST PATH FUNCTION';
  if (key === 'env')
    return 'environments are of wrangler files; here each is a function: isoplane deploy --name NAME';
  if (key === 'placement' || HARMLESS.has(key)) return 'it has no meaning here: remove it';
  return Object.hasOwn(UNSUPPORTED, key) ? UNSUPPORTED[key] : undefined;
}

/** Generated files list every key there is, mostly with nothing in it. */
export function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === false) return true;
  if (Array.isArray(value)) return value.every(isEmpty);
  return typeof value === 'object' && Object.values(value).every(isEmpty);
}

/** Names under which the code would look for it, in whatever form the key has. */
function bindingNames(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(bindingNames);
  if (typeof value !== 'object' || value === null) return [];
  const { binding, name } = value as { binding?: unknown; name?: unknown };
  const own = typeof binding === 'string' ? binding : name;
  if (typeof own === 'string') return [own];
  return Object.values(value).flatMap(bindingNames);
}

/** One problem for each key that asks for what is not here. */
export function unsupportedOf(
  config: Readonly<Record<string, unknown>>,
  at: (key: string) => string,
): Problem[] {
  return Object.entries(config).flatMap(([key, value]) => {
    const reason = UNSUPPORTED[key];
    if (reason === undefined || isEmpty(value)) return [];
    const names = [...new Set(bindingNames(value))];
    return [
      { at: at(key), message: `${key}${names.length === 0 ? '' : ` (${names.join(', ')})`}: ${reason}` },
    ];
  });
}

/** Keys that say something and that nobody here reads. */
export function ignoredKeys(config: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(config).filter(
    (key) => !HARMLESS.has(key) && !READ.has(key) && !(key in UNSUPPORTED) && !isEmpty(config[key]),
  );
}
