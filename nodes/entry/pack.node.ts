/**
 * Our modules inside a function's process: made from TypeScript once per agent start, so development needs no
 * build step.
 *
 * They are modules of a workerd extension. Internal ones cannot be imported by user code at all. The entry
 * module, which is user code to workerd, reaches them through a module whose name nobody else can know.
 */
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import type { Hooks, Style } from '#shared/contracts/config.ts';
import type { WorkerdExtensionModule, WorkerdModule } from '../workerd/config.ts';

export interface EntryModules {
  of(options: EntryOptions): PackedEntry;
  /** For `isoplane dev`, whose miniflare takes no extension: all as modules of the worker, entry first. */
  bundledOf(options: EntryOptions): readonly WorkerdModule[];
}

interface PackedEntry {
  /** The first module of the worker. */
  readonly main: WorkerdModule;
  readonly extension: readonly WorkerdExtensionModule[];
  /** Begins the path of calls to the hooks. */
  readonly secret: string;
}

interface EntryOptions {
  readonly style: Style;
  readonly main: string;
  readonly hooks: Hooks;
  readonly entrypoints: readonly string[];
  /** Names of bindings to other functions. */
  readonly services: readonly string[];
  readonly functionName: string;
  readonly functionVersion: number;
}

/** Class that the entry module exports for the agent's own calls. */
export const HOOKS_ENTRYPOINT = 'IsoplaneHooks';

const RUNTIME = 'isoplane-internal:runtime';

const encoder = new TextEncoder();

/** What stands outside an extension for the modules that only an extension may import. */
const OUTSIDE: Readonly<Record<string, string>> = {
  'node-internal:async_hooks': `import * as hooks from 'node:async_hooks'; export default hooks;`,
  'cloudflare-internal:workers': `import * as workers from 'cloudflare:workers'; export default workers;`,
  'cloudflare-internal:env': `import { env } from 'cloudflare:workers'; export default { getCurrentEnv: () => env };`,
};

const outside: Plugin = {
  name: 'outside-an-extension',
  setup(context) {
    context.onResolve({ filter: /-internal:/ }, ({ path }) => ({ path, namespace: 'outside' }));
    context.onLoad({ filter: /.*/, namespace: 'outside' }, ({ path }) => ({ contents: OUTSIDE[path] ?? '' }));
  },
};

/** One module with all that it imports of ours. */
async function load(file: string, place: 'extension' | 'bundle' = 'extension'): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'esnext',
    ...(place === 'extension'
      ? { external: ['cloudflare-internal:*', 'node-internal:*'] }
      : { external: ['cloudflare:*', 'node:*'], plugins: [outside] }),
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

function hooksSource(hooks: EntryOptions['hooks'], secret: string): string {
  const configured = Object.entries(hooks).flatMap(([name, hook]) => (hook === undefined ? [] : [name]));
  if (configured.length === 0) return '';
  return `export const ${HOOKS_ENTRYPOINT} = hooksOf(user, ${JSON.stringify(configured)}, ${JSON.stringify(secret)});\n`;
}

interface Place {
  /** undefined: outside an extension. */
  readonly secret: string | undefined;
  /** Module that gives our wrappers. */
  readonly door: string;
  /** From the entry module to the user's main. */
  readonly up: string;
}

/** Named exports pass through, so that code may use them as workerd does; `default` is ours. */
function entrySource(options: EntryOptions, { secret, door, up }: Place): string {
  const { style, main, functionName, functionVersion, hooks, entrypoints } = options;
  // Relative: compatibility dates with the newer module registry resolve an absolute specifier elsewhere.
  const specifier = JSON.stringify(`${up}${main}`);
  const wrapped =
    style === 'event'
      ? `wrapEvent(user, ${JSON.stringify({ functionName, functionVersion })})`
      : 'wrapModule(user)';
  // Ours is imported first: top-level code of the user must already be heard, and cannot change it.
  return `import { hooksOf, tellExports, wrapEntrypoint, wrapEvent, wrapModule } from "${door}";
import * as user from ${specifier};
${style === 'event' ? '' : `export * from ${specifier};\n`}${
    // An export of our own wins over one of the same name that \`export *\` would bring.
    hooksSource(hooks, secret ?? '') + entrypointSource(entrypoints)
  }export default ${wrapped};
${secret === undefined ? '' : 'tellExports(user);\n'}`;
}

export async function loadEntryModules(): Promise<EntryModules> {
  const [runtime, email, bundled] = await Promise.all([
    load('./runtime.worker.ts'),
    load('./email.worker.ts'),
    load('./runtime.worker.ts', 'bundle'),
  ]);
  const esm = (name: string, text: string): WorkerdModule => ({
    name,
    type: 'esm',
    content: encoder.encode(text),
  });
  return {
    of: (options) => {
      const secret = randomBytes(16).toString('hex');
      // It holds no function, so its name stands in no stack.
      const doorSource = `import { prepare } from "${RUNTIME}";\nexport * from "${RUNTIME}";\nprepare(${JSON.stringify(options.services)});\n`;
      return {
        secret,
        main: esm(
          `isoplane/${secret}/entry.js`,
          entrySource(options, { secret, door: `workerd:isoplane-${secret}`, up: '../../' }),
        ),
        extension: [
          { name: `workerd:isoplane-${secret}`, internal: false, source: doorSource },
          { name: RUNTIME, internal: true, source: runtime },
          { name: 'cloudflare-internal:email', internal: true, source: email },
        ],
      };
    },
    bundledOf: (options) => [
      esm('isoplane/entry.js', entrySource(options, { secret: undefined, door: './runtime.js', up: '../' })),
      esm('isoplane/runtime.js', bundled),
    ],
  };
}
