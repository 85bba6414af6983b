/**
 * Bundles a project into the modules that are uploaded.
 *
 * The same sources give the same bytes: no absolute paths, no time, and the source map travels beside the
 * code instead of in it, so publishing again is recognised by digest.
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { build, type BuildOptions, type Message, type Metafile, type Plugin } from 'esbuild';
import { LIMITS } from '#shared/limits.ts';
import type { ModuleType } from '#shared/contracts/modules.ts';
import { CliError } from '../failure.ts';
import type { Project } from '../project/project.ts';
import { moduleNameFor, moduleTypeOf } from './modules.ts';
import { nodeBuiltins } from './node-builtins.ts';

export interface BundledModule {
  readonly name: string;
  readonly type: ModuleType;
  readonly content: Uint8Array<ArrayBuffer>;
}

export interface Bundle {
  readonly main: string;
  readonly modules: readonly BundledModule[];
  /** Source map of the main module. */
  readonly sourceMap: Uint8Array<ArrayBuffer> | undefined;
  /** All modules together; the source map is not code and does not count. */
  readonly bytes: number;
  /** Largest inputs, for the message when the bundle is too large. */
  readonly largest: readonly { readonly path: string; readonly bytes: number }[];
  readonly warnings: readonly string[];
  /** Absolute paths of the files that the code was built from. */
  readonly inputs: readonly string[];
}

export interface BundleOptions {
  readonly minify?: boolean;
}

const MAIN = 'index.js';
const LARGEST_SHOWN = 5;

/** `modules` receives the separate files. */
function esbuildOptions(
  project: Project,
  modules: Map<string, BundledModule>,
  options: BundleOptions = {},
): BuildOptions & { write: false; metafile: true } {
  return {
    entryPoints: [project.main],
    absWorkingDir: project.root,
    outfile: MAIN,
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    // What workerd runs; and the conditions under which packages offer code for it.
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    supported: { 'import-source': true },
    sourcemap: 'external',
    sourcesContent: true,
    minify: options.minify ?? false,
    keepNames: options.minify ?? false,
    // A `process.env.NODE_ENV` that is not there makes many packages ship their development half.
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'silent',
    charset: 'utf8',
    legalComments: 'none',
    plugins: [external(), nodeBuiltins(project.config.compatibilityFlags), separateModules(project, modules)],
  };
}

/** @throws {CliError} `bundle_failed` with positions, or `bundle_too_large` with the largest inputs. */
export async function bundleProject(project: Project, options: BundleOptions = {}): Promise<Bundle> {
  const separate = new Map<string, BundledModule>();
  let result;
  try {
    result = await build(esbuildOptions(project, separate, options));
  } catch (thrown) {
    throw bundleFailure(thrown);
  }
  const outputs = result.outputFiles ?? [];
  const code = outputs.find((file) => file.path.endsWith(MAIN));
  if (code === undefined) throw new CliError('bundle_failed', 'The bundler produced no output.');
  const map = outputs.find((file) => file.path.endsWith(`${MAIN}.map`));
  const modules: BundledModule[] = [
    { name: MAIN, type: 'esm', content: new Uint8Array(code.contents) },
    ...[...separate.values()].sort((left, right) => (left.name < right.name ? -1 : 1)),
  ];
  const bundle: Bundle = {
    main: MAIN,
    modules,
    sourceMap: map === undefined ? undefined : new Uint8Array(map.contents),
    bytes: modules.reduce((sum, module) => sum + module.content.byteLength, 0),
    largest: largestInputs(result.metafile, separate),
    warnings: result.warnings.map(messageText),
    inputs: inputFiles(project, result.metafile),
  };
  checkSize(bundle);
  return bundle;
}

/** Refuses before the upload what the platform would refuse after it. */
function checkSize(bundle: Bundle): void {
  if (bundle.bytes > LIMITS.bundleBytesMax) {
    throw new CliError(
      'bundle_too_large',
      `The bundle has ${bundle.bytes} bytes; at most ${LIMITS.bundleBytesMax} are accepted.`,
      {
        problems: bundle.largest.map(({ path, bytes }) => ({ at: path, message: `${bytes} bytes` })),
        advice: 'Leave out what the function does not need, move shared code into a layer, or try --minify.',
      },
    );
  }
  if (bundle.modules.length > LIMITS.modulesPerVersionMax) {
    throw new CliError(
      'bundle_too_large',
      `The bundle has ${bundle.modules.length} modules; at most ${LIMITS.modulesPerVersionMax} are accepted.`,
    );
  }
}

export function bundleFailure(thrown: unknown): CliError {
  const messages = (thrown as { errors?: readonly Message[] }).errors;
  if (!Array.isArray(messages)) throw thrown;
  return new CliError('bundle_failed', 'The code could not be bundled.', {
    problems: (messages as readonly Message[]).map((message) => ({
      message: message.text,
      ...(message.location === null
        ? {}
        : { at: `${message.location.file}:${message.location.line}:${message.location.column + 1}` }),
      ...(hintFor(message.text) === undefined ? {} : { hint: hintFor(message.text) as string }),
    })),
    cause: thrown,
  });
}

function hintFor(text: string): string | undefined {
  const missing = /^Could not resolve "([^"./][^"]*)"/.exec(text)?.[1];
  if (missing === undefined) return undefined;
  return `is the package installed? npm install ${missing
    .split('/')
    .slice(0, missing.startsWith('@') ? 2 : 1)
    .join('/')}`;
}

function messageText(message: Message): string {
  const at = message.location === null ? '' : `${message.location.file}:${message.location.line}: `;
  return `${at}${message.text}`;
}

/** Modules that a plugin made up have a namespace in front, and are no files. */
function inputFiles(project: Project, metafile: Metafile): readonly string[] {
  return Object.keys(metafile.inputs)
    .filter((path) => !/^[a-z-]+:/.test(path))
    .map((path) => resolve(project.root, path));
}

function largestInputs(
  metafile: Metafile,
  separate: ReadonlyMap<string, BundledModule>,
): { path: string; bytes: number }[] {
  const inputs = Object.values(metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs).map(([path, { bytesInOutput }]) => ({ path, bytes: bytesInOutput })),
  );
  const files = [...separate.values()].map(({ name, content }) => ({
    path: name,
    bytes: content.byteLength,
  }));
  return [...inputs, ...files].sort((left, right) => right.bytes - left.bytes).slice(0, LARGEST_SHOWN);
}

/**
 * Layer modules and the runtime's own modules exist only where the function runs. Layers are named
 * relative to the one module at the root that the bundle becomes: an absolute specifier means another
 * place to the module registry of newer compatibility dates.
 */
function external(): Plugin {
  return {
    name: 'isoplane-external',
    setup(context) {
      context.onResolve({ filter: /^(\/opt\/|cloudflare:|workerd:)/ }, ({ path }) => ({
        path: path.startsWith('/') ? `.${path}` : path,
        external: true,
      }));
    },
  };
}

const RESOLVED = Symbol('resolved');

/** wasm, text, data and json files that a rule names: uploaded beside the code, imported by content hash. */
function separateModules(project: Project, modules: Map<string, BundledModule>): Plugin {
  return {
    name: 'isoplane-modules',
    setup(context) {
      context.onStart(() => modules.clear());
      context.onResolve({ filter: /.*/ }, async (request) => {
        if (request.pluginData === RESOLVED || request.kind === 'entry-point') return undefined;
        const type = moduleTypeOf(request.path, project.rules);
        if (type === undefined) return undefined;
        const resolved = await context.resolve(request.path.replace(/\?.*$/, ''), {
          kind: request.kind,
          resolveDir: request.resolveDir,
          importer: request.importer,
          pluginData: RESOLVED,
        });
        if (resolved.errors.length > 0) return { errors: resolved.errors };
        const content = new Uint8Array(await readFile(resolved.path));
        const name = moduleNameFor(resolved.path, content);
        modules.set(name, { name, type, content });
        return { path: `./${name}`, external: true, watchFiles: [resolved.path] };
      });
    },
  };
}
