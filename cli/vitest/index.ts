/**
 * `isoplane/vitest`: a function as it would be deployed, started inside a test.
 *
 * The function runs in workerd, bundled as for a deployment, with its bindings; the test runs in Node
 * beside it and reaches them through miniflare's proxies. Each start has storage of its own, so test files do not
 * see one another (docs/adr/0015).
 */
import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import type { Miniflare, WorkerOptions } from 'miniflare';
import type { Style } from '#shared/contracts/config.ts';
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
import { PlatformError, problemResponse } from '#shared/errors.ts';
import { toBase64Url } from '#shared/encoding.ts';
import { bundleProject } from '../bundle/bundle.ts';
import { readLayerFolder } from '../bundle/layer-folder.ts';
import { CliError } from '../failure.ts';
import type { Project } from '../project/project.ts';
import { readProject } from '../project/read-project.ts';
import { workerdBinary } from '../workerd-binary.ts';
import { bindingWorker, bindingWorkerName } from './binding.ts';
import { eventEntry } from './event-entry.ts';
import type { FunctionOptions, RequestOptions, TestFunction } from './api.d.ts';
import { scriptEntry } from './script-entry.ts';
import { miniflareModules, type NamedModule } from './modules.ts';

/** Worker of the test itself: whoever calls the function is one of its bindings. */
const CALLER = 'isoplane-test';
const CALLER_SCRIPT = 'export default { fetch: () => new Response(null, { status: 404 }) };';
const SELF = 'SELF';
const EVENT_ENTRY = 'isoplane-event.js';

export async function startFunction<Env = Record<string, unknown>, Self = unknown>(
  target = '.',
  options: FunctionOptions = {},
): Promise<TestFunction<Env, Self>> {
  const project = await readProject(resolve(process.cwd(), target), { environment: options.environment });
  const others = await boundProjects(project, options.services ?? []);
  const workers = await Promise.all([
    workerOf(project, options),
    ...others.map((other) => workerOf(other, { layers: options.layers, outbound: options.outbound })),
  ]);
  const { Miniflare: Runtime } = await loadMiniflare(project.root);
  // The platform's own workerd: miniflare's is older and knows fewer compatibility dates.
  process.env['MINIFLARE_WORKERD_PATH'] ??= workerdBinary();
  const runtime = new Runtime({
    // Nothing leaves the machine by itself: no request for a `cf` object, no telemetry.
    cf: false,
    telemetry: { enabled: false },
    workers: [...workers, ...[project, ...others].flatMap(bindingWorkers), callerOf(project)],
  });
  const close = (): Promise<void> => runtime.dispose();
  try {
    const [env, own] = await Promise.all([runtime.getBindings(project.name), runtime.getBindings(CALLER)]);
    return {
      env: env as Env,
      fetch: (input, init) => dispatch(runtime, project.name, input, init),
      self: own[SELF] as Self,
      entrypoints: own,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** Of the functions that this one is bound to, and those that they are bound to. */
async function boundProjects(project: Project, folders: readonly string[]): Promise<readonly Project[]> {
  const known = new Map<string, Project>();
  const named = folders.map((folder) => resolve(process.cwd(), folder));
  for (const folder of [...named, ...(await foldersBeside(project.root))]) {
    const other = await readProject(folder).catch(() => undefined);
    if (other !== undefined && !known.has(other.name)) known.set(other.name, other);
  }
  const wanted = new Set<Project>();
  const add = ({ config }: Project): void => {
    for (const { function: name } of config.services) {
      const other = known.get(name);
      if (name === project.name || (other !== undefined && wanted.has(other))) continue;
      if (other === undefined)
        throw new CliError('function_not_found', `There is no project of the function ${name}.`, {
          advice: 'Name its folder: startFunction(".", { services: ["../other"] }).',
        });
      wanted.add(other);
      add(other);
    }
  };
  add(project);
  return [...wanted];
}

async function foldersBeside(root: string): Promise<readonly string[]> {
  const parent = dirname(root);
  const entries = await readdir(parent, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(parent, entry.name));
}

/** Code under test was never published. */
const UNPUBLISHED = new Date(0).toISOString();

async function workerOf(project: Project, options: FunctionOptions): Promise<WorkerOptions> {
  const { config, name } = project;
  const [bundle, layers] = await Promise.all([
    bundleProject(project),
    layersOf(project, options.layers ?? {}),
  ]);
  const { main } = bundle;
  if (main === undefined) throw new Error(`${name} has static assets alone: there is no code to run`);
  const entry = entryModules(bundle.style ?? config.style, main, name);
  const { compatibilityDate, compatibilityFlags: flags, services, kv, rateLimits, versionMetadata } = config;
  const { outbound } = options;
  return {
    name,
    modulesRoot: '/',
    modules: miniflareModules([...entry, ...bundle.modules, ...layers]),
    compatibilityDate,
    compatibilityFlags: [...flags, ...bundle.addedFlags],
    bindings: {
      ...config.vars,
      ...options.vars,
      ...secretsOf(project, options.secrets ?? {}),
      ...(versionMetadata === undefined
        ? {}
        : { [versionMetadata.binding]: { id: `default/${name}@1`, tag: '', timestamp: UNPUBLISHED } }),
    },
    kvNamespaces: Object.fromEntries(kv.map(({ binding, namespace }) => [binding, namespace])),
    ratelimits: Object.fromEntries(
      rateLimits.map(({ binding, namespace, limit, periodSeconds: period }) => [
        binding,
        { namespace_id: namespace ?? `${name}/${binding}`, simple: { limit, period } },
      ]),
    ),
    serviceBindings: Object.fromEntries(
      services.map(({ binding }) => [binding, bindingWorkerName({ caller: name, binding })]),
    ),
    ...(outbound === undefined
      ? {}
      : { outboundService: (request: unknown) => outbound(request as Request) as never }),
  };
}

/** One for each binding to a function. */
function bindingWorkers({ name: caller, config: { compatibilityDate, services } }: Project): WorkerOptions[] {
  return services.map(({ binding, function: name, entrypoint }) =>
    bindingWorker({
      caller,
      compatibilityDate,
      binding,
      target: entrypoint === undefined ? name : { name, entrypoint },
    }),
  );
}

/** In front of the function's own modules: miniflare calls the first one. */
function entryModules(style: Style, main: string, name: string): readonly NamedModule[] {
  switch (style) {
    case 'module':
      return [];
    case 'service-worker':
      return scriptEntry(main);
    case 'event':
      return [{ name: EVENT_ENTRY, type: 'esm', content: new TextEncoder().encode(eventEntry(main, name)) }];
  }
}

function callerOf({ name, config }: Project): WorkerOptions {
  return {
    name: CALLER,
    modules: true,
    script: CALLER_SCRIPT,
    compatibilityDate: config.compatibilityDate,
    serviceBindings: {
      [SELF]: name,
      ...Object.fromEntries(config.entrypoints.map((entrypoint) => [entrypoint, { name, entrypoint }])),
    },
  };
}

/** A test says its secrets: those of this machine would make it pass here and nowhere else. */
function secretsOf(
  { name, config }: Project,
  given: Readonly<Record<string, string>>,
): Record<string, string> {
  const bindings = config.secrets.map(bindingOfSecret).map(({ binding }) => binding);
  const missing = bindings.filter((binding) => given[binding] === undefined);
  if (missing.length > 0)
    throw new CliError('secret_not_found', `${name} needs secrets: ${missing.join(', ')}.`, {
      advice: `Give them to the test: startFunction(".", { secrets: { ${missing[0]}: "…" } }).`,
    });
  return { ...given };
}

async function layersOf(
  { root, config }: Project,
  folders: Readonly<Record<string, string>>,
): Promise<readonly NamedModule[]> {
  const byName = new Map<string, NamedModule>();
  for (const { name } of config.layers)
    for (const module of await readLayerFolder(resolve(process.cwd(), folders[name] ?? join(root, name))))
      if (!byName.has(module.name)) byName.set(module.name, { ...module, name: `opt/${module.name}` });
  return [...byName.values()];
}

async function dispatch(
  runtime: Miniflare,
  name: string,
  input: string | URL | Request,
  { caller, ...init }: RequestOptions = {},
): Promise<Response> {
  const headers = new Headers(
    input instanceof Request && init.headers === undefined ? input.headers : init.headers,
  );
  // What the gateway would have added once it had let the caller in.
  if (caller?.principal !== undefined) headers.set('isoplane-principal', caller.principal);
  if (caller?.claims !== undefined)
    headers.set('isoplane-claims', toBase64Url(new TextEncoder().encode(JSON.stringify(caller.claims))));
  const request = input instanceof Request ? input : undefined;
  const url = request === undefined ? new URL(input, `http://${name}.localhost/`) : request.url;
  const worker = await runtime.getWorker(name);
  const body = init.body ?? (request?.body === null ? undefined : await request?.arrayBuffer());
  try {
    return await worker.fetch(String(url), {
      ...(init as object),
      method: init.method ?? request?.method ?? 'GET',
      headers: [...headers],
      ...(body === undefined || body === null ? {} : { body: body as never }),
      redirect: 'manual',
    });
  } catch (thrown) {
    return functionError(name, thrown);
  }
}

/** As the gateway answers a function that threw; what it threw stands in the output of the test, as in a log. */
function functionError(name: string, thrown: unknown): Response {
  process.stderr.write(
    `${name} threw ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`,
  );
  return problemResponse(new PlatformError('function_error', `${name} threw`), crypto.randomUUID());
}

/** The project's own: this package may be installed in a folder above, which does not see what is below it. */
async function loadMiniflare(root: string): Promise<{ readonly Miniflare: typeof Miniflare }> {
  try {
    const path = createRequire(join(root, 'package.json')).resolve('miniflare');
    return (await import(pathToFileURL(path).href)) as { readonly Miniflare: typeof Miniflare };
  } catch {
    // Looked for from here, too: the function may lie outside the project whose tests these are.
  }
  try {
    return await import('miniflare');
  } catch (thrown) {
    const advice = 'In the folder of the function: npm install --save-dev miniflare';
    throw new CliError('package_missing', `isoplane/vitest needs the package miniflare. ${advice}`, {
      advice,
      cause: thrown,
    });
  }
}
