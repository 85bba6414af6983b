/**
 * Our modules inside a function's process, as text: transformed from TypeScript once per agent start, so
 * development needs no build step.
 */
import { readFile } from 'node:fs/promises';
import { transform } from 'esbuild';
import type { Hooks, Style } from '#shared/contracts/config.ts';
import type { WorkerdModule } from '../workerd/config.ts';

export interface EntryModules {
  /** The entry module of one version, then what it imports. */
  of(options: EntryOptions): readonly WorkerdModule[];
}

interface EntryOptions {
  readonly style: Style;
  readonly main: string;
  readonly hooks: Hooks;
  readonly entrypoints: readonly string[];
  readonly functionName: string;
  readonly functionVersion: number;
}

/** Class that the entry module exports for the agent's own calls. */
export const HOOKS_ENTRYPOINT = 'IsoplaneHooks';

const encoder = new TextEncoder();

const esm = (name: string, text: string): WorkerdModule => ({
  name,
  type: 'esm',
  content: encoder.encode(text),
});

async function load(file: string): Promise<string> {
  const source = await readFile(new URL(file, import.meta.url), 'utf8');
  const { code } = await transform(source, {
    loader: 'ts',
    format: 'esm',
    target: 'esnext',
    sourcefile: file,
  });
  return code;
}

/** Listed classes, wrapped. These exports shadow those of `export *`. */
function entrypointSource(names: readonly string[]): string {
  return names
    .map(
      (name, index) =>
        `const e${index} = wrapEntrypoint(user, ${JSON.stringify(name)});\nexport { e${index} as ${name} };\n`,
    )
    .join('');
}

function hooksSource(hooks: EntryOptions['hooks']): string {
  const configured = Object.entries(hooks).flatMap(([name, hook]) => (hook === undefined ? [] : [name]));
  if (configured.length === 0) return '';
  return `export const ${HOOKS_ENTRYPOINT} = hooksOf(user, ${JSON.stringify(configured)});\n`;
}

/** Named exports pass through, so that code may use them as workerd does; `default` is ours. */
function entrySource(options: EntryOptions): string {
  const { style, main, functionName, functionVersion } = options;
  // Relative: compatibility dates with the newer module registry resolve an absolute specifier elsewhere.
  const specifier = JSON.stringify(`../${main}`);
  const wrapped =
    style === 'event'
      ? `wrapEvent(user, ${JSON.stringify({ functionName, functionVersion })})`
      : 'wrapModule(user)';
  const wrapper = style === 'event' ? 'wrapEvent' : 'wrapModule';
  // These are imported first: top-level code of the user must already be heard, and cannot change them.
  return `import "./console.worker.ts";
import "./uncaught.worker.ts";
import "./fetch.worker.ts";
import { hooksOf, wrapEntrypoint, ${wrapper} } from "./runtime.worker.ts";
import * as user from ${specifier};
${style === 'event' ? '' : `export * from ${specifier};\n`}${
    // An export of our own wins over one of the same name that \`export *\` would bring.
    hooksSource(options.hooks) + entrypointSource(options.entrypoints)
  }export default ${wrapped};
`;
}

export async function loadEntryModules(): Promise<EntryModules> {
  const shared = await Promise.all(
    ['intact', 'console', 'uncaught', 'fetch', 'runtime'].map(async (name) =>
      esm(`isoplane/${name}.worker.ts`, await load(`./${name}.worker.ts`)),
    ),
  );
  return { of: (options) => [esm('isoplane/entry.js', entrySource(options)), ...shared] };
}
