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

/** Named exports pass through, so that named class entrypoints can be bound to; `default` is ours. */
function entrySource({ style, main, functionName, functionVersion }: EntryOptions): string {
  // Relative: compatibility dates with the newer module registry resolve an absolute specifier elsewhere.
  const specifier = JSON.stringify(`../${main}`);
  const wrapped =
    style === 'event'
      ? `wrapEvent(user, ${JSON.stringify({ functionName, functionVersion })})`
      : 'wrapModule(user)';
  // The console is imported first: top-level code of the user must already log through it.
  return `import "./console.worker.ts";
import * as user from ${specifier};
import { ${style === 'event' ? 'wrapEvent' : 'wrapModule'} } from "./runtime.worker.ts";
${style === 'event' ? '' : `export * from ${specifier};\n`}export default ${wrapped};
`;
}

export async function loadEntryModules(): Promise<EntryModules> {
  const [consoleText, runtimeText] = await Promise.all([
    load('./console.worker.ts'),
    load('./runtime.worker.ts'),
  ]);
  const shared = [
    esm('isoplane/console.worker.ts', consoleText),
    esm('isoplane/runtime.worker.ts', runtimeText),
  ];
  return { of: (options) => [esm('isoplane/entry.js', entrySource(options)), ...shared] };
}
