/**
 * Our modules inside a function's process: made from TypeScript once per agent start, so development needs no
 * build step.
 *
 * They are modules of a workerd extension. Internal ones cannot be imported by user code at all. The entry
 * module, which is user code to workerd, reaches them through a module whose name nobody else can know.
 */
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Hooks, Style } from '#shared/contracts/config.ts';
import type { WorkerdExtensionModule, WorkerdModule } from '../workerd/config.ts';

export interface EntryModules {
  of(options: EntryOptions): PackedEntry;
}

interface PackedEntry {
  /** The first module of the worker. */
  readonly main: WorkerdModule;
  readonly extension: readonly WorkerdExtensionModule[];
  /** Names the address at which the instance takes events of the agent. */
  readonly eventSecret: string;
  /** Begins each line on stdout that is the entry code's own. */
  readonly logMark: string;
}

interface EntryOptions {
  readonly style: Style;
  readonly main: string;
  readonly hooks: Hooks;
  readonly entrypoints: readonly string[];
  /** Names of bindings to other functions. */
  readonly services: readonly string[];
  /** Name of a binding to a namespace of KV, where there is one. */
  readonly namespace: string | undefined;
  /** `limits.connections` */
  readonly connections: number;
  readonly functionName: string;
  readonly functionVersion: number;
}

/** Class that the entry module exports for the agent's own calls. */
export const EVENTS_ENTRYPOINT = 'IsoplaneEvents';

const RUNTIME = 'isoplane-internal:runtime';
/** Makes a rate-limit binding of a socket of the agent. */
export const RATE_LIMIT = 'isoplane-internal:rate-limit';

const encoder = new TextEncoder();
const secret = (bytes: number): string => randomBytes(bytes).toString('hex');

/** One module with all that it imports of ours. */
async function load(file: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'esnext',
    external: ['cloudflare-internal:*', 'node-internal:*'],
  });
  return outputFiles[0]?.text ?? '';
}

/** Wrapped. These exports shadow those of `export *`. */
function entrypointSource(names: readonly string[]): string {
  return names
    .map(
      (name, index) =>
        `const e${index} = wrapEntrypoint(user, ${JSON.stringify(name)});\nexport { e${index} as ${name} };\n`,
    )
    .join('');
}

function eventsSource(hooks: EntryOptions['hooks'], secret: string): string {
  const configured = Object.entries(hooks).flatMap(([name, hook]) => (hook === undefined ? [] : [name]));
  if (configured.length === 0) return '';
  const taken = JSON.stringify({ hooks: configured });
  return `export const ${EVENTS_ENTRYPOINT} = wrapEvents(user, ${taken}, ${JSON.stringify(secret)});\n`;
}

/** Named exports pass through, so that code may use them as workerd does; `default` is ours. */
function entrySource(options: EntryOptions, door: string, eventSecret: string): string {
  const { style, main, functionName, functionVersion, hooks, entrypoints } = options;
  // Relative: compatibility dates with the newer module registry resolve an absolute specifier elsewhere.
  const specifier = JSON.stringify(`../../${main}`);
  const wrapped = {
    event: `wrapEvent(user, ${JSON.stringify({ functionName, functionVersion })})`,
    module: 'wrapModule(user)',
    'service-worker': 'wrapScript()',
  }[style];
  // Ours is imported first: top-level code of the user must already be heard, and cannot change it.
  return `import { tellExports, wrapEntrypoint, wrapEvent, wrapEvents, wrapModule, wrapScript } from "${door}";
import * as user from ${specifier};
${style === 'module' ? `export * from ${specifier};\n` : ''}${
    // An export of our own wins over one of the same name that \`export *\` would bring.
    eventsSource(hooks, eventSecret) + entrypointSource(entrypoints)
  }export default ${wrapped};
tellExports(user);
`;
}

export async function loadEntryModules(): Promise<EntryModules> {
  const [runtime, email, rateLimit] = await Promise.all([
    load('./runtime.worker.ts'),
    load('./email.worker.ts'),
    load('./rate-limit.worker.ts'),
  ]);
  return {
    of: (options) => {
      // Each its own: the place of the entry module stands in stacks, which user code reads.
      const [place, doorName, eventSecret, logMark] = [secret(16), secret(16), secret(16), secret(6)];
      const door = `workerd:isoplane-${doorName}`;
      const preparation = {
        services: options.services,
        namespace: options.namespace,
        connections: options.connections,
        mark: logMark,
        isScript: options.style === 'service-worker',
      };
      // It holds no function, so its name stands in no stack.
      const doorSource = `import { prepare } from "${RUNTIME}";\nexport * from "${RUNTIME}";\nprepare(${JSON.stringify(preparation)});\n`;
      return {
        eventSecret,
        logMark,
        main: {
          name: `isoplane/${place}/entry.js`,
          type: 'esm',
          content: encoder.encode(entrySource(options, door, eventSecret)),
        },
        extension: [
          { name: door, internal: false, source: doorSource },
          { name: RUNTIME, internal: true, source: runtime },
          { name: 'cloudflare-internal:email', internal: true, source: email },
          { name: RATE_LIMIT, internal: true, source: rateLimit },
        ],
      };
    },
  };
}
