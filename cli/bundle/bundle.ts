/**
 * Bundles a project into the modules that are uploaded.
 *
 * The same sources give the same bytes: no absolute paths, no time, and the source map travels beside the
 * code instead of in it, so publishing again is recognised by digest.
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { build, type BuildOptions, type Message, type Metafile } from 'esbuild';
import type { Style } from '#shared/contracts/config.ts';
import { LIMITS } from '#shared/limits.ts';
import { CliError } from '../failure.ts';
import type { CodeProject, Project } from '../project/project.ts';
import { isDenoImport, problemsOfBundle, unresolved } from './advice.ts';
import { additionalModules } from './additional-modules.ts';
import { denoCalls } from './deno.ts';
import { nativePackages } from './native-packages.ts';
import { builtinName, nodeBuiltins, type AddedFlags } from './node-builtins.ts';
import type { BundledModule } from './modules.ts';
import { flagsOfGlobals } from './node-globals.ts';
import { npmShims } from './npm-shims.ts';
import { aliases, external, separateModules } from './plugins.ts';
import { isScript, isScriptFile } from './script.ts';

export interface Bundle {
  /** Undefined: there is no code. */
  readonly main: string | undefined;
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
  /** Flags beside the project's own, for modules of Node.js that are newer than its date. */
  readonly addedFlags: readonly string[];
  /** Of the code, where it is not the project's: a script is recognised. */
  readonly style?: Style;
}

/** Of a project of static assets alone. */
const NO_CODE: Bundle = {
  main: undefined,
  modules: [],
  sourceMap: undefined,
  bytes: 0,
  largest: [],
  inputs: [],
  warnings: [],
  addedFlags: [],
};

export interface BundleOptions {
  readonly minify?: boolean;
  readonly added?: AddedFlags;
  /** Receives what a person should know although the bundle was made. */
  readonly warn?: (text: string) => void;
}

const MAIN = 'index.js';
const LARGEST_SHOWN = 5;

/** `modules` receives the separate files. */
function esbuildOptions(
  project: CodeProject,
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
    minify: (options.minify ?? false) || project.minify,
    // Two classes of one name in two files are renamed by the bundler; programs read `constructor.name`.
    keepNames: true,
    // A `process.env.NODE_ENV` that is not there makes many packages ship their development half.
    // The bundle is the main module to its author, though the platform's entry module stands in front of it.
    define: { 'process.env.NODE_ENV': '"production"', ...project.define },
    // As wrangler does: JSX stands in plain .js files of many programs.
    loader: { '.js': 'jsx', '.mjs': 'jsx', '.cjs': 'jsx' },
    ...(project.tsconfig === undefined ? {} : { tsconfig: project.tsconfig }),
    ...(project.jsxFactory === undefined ? {} : { jsxFactory: project.jsxFactory }),
    ...(project.jsxFragment === undefined ? {} : { jsxFragment: project.jsxFragment }),
    logLevel: 'silent',
    charset: 'utf8',
    legalComments: 'none',
    plugins: [
      aliases(project),
      external(),
      npmShims(project),
      nodeBuiltins(project, options.added ?? new Map()),
      nativePackages(options.warn ?? (() => undefined)),
      separateModules(project, modules),
    ],
  };
}

/** @throws {CliError} `bundle_failed` with positions, or `bundle_too_large` with the largest inputs. */
export async function bundleProject(project: Project, options: BundleOptions = {}): Promise<Bundle> {
  if (project.main === undefined) return NO_CODE;
  const coded: CodeProject = { ...project, main: project.main };
  const bundle = project.noBundle ? await unbundled(coded) : await bundled(coded, options);
  checkSize(bundle);
  return bundle;
}

async function bundled(project: CodeProject, options: BundleOptions): Promise<Bundle> {
  const separate = new Map<string, BundledModule>();
  const added: AddedFlags = new Map();
  const warnings: string[] = [];
  const given = esbuildOptions(project, separate, { ...options, added, warn: (text) => warnings.push(text) });
  let result;
  let style = project.config.style;
  try {
    result = await build(style === 'service-worker' ? { ...given, format: 'cjs' } : given);
    if (style === 'module' && isScript(result)) {
      style = 'service-worker';
      warnings.length = 0;
      result = await build({ ...given, format: 'cjs' });
    }
  } catch (thrown) {
    throw bundleFailure(thrown);
  }
  const outputs = result.outputFiles ?? [];
  const code = outputs.find((file) => file.path.endsWith(MAIN));
  if (code === undefined) throw new CliError('bundle_failed', 'The bundler produced no output.');
  const map = outputs.find((file) => file.path.endsWith(`${MAIN}.map`));
  const deno = map === undefined ? [] : denoCalls(map.text);
  if (deno.length > 0)
    throw new CliError('bundle_failed', 'The code could not be bundled.', { problems: deno });
  const extra = project.findAdditionalModules ? await additionalModules(project) : undefined;
  const main = extra?.main ?? MAIN;
  const { compatibilityDate, compatibilityFlags } = project.config;
  const globals = flagsOfGlobals(code.text, compatibilityDate, compatibilityFlags);
  for (const module of extra?.modules ?? []) if (module.name !== main) separate.set(module.name, module);
  const modules: BundledModule[] = [
    // Script code is not strict, and neither are CommonJS modules.
    {
      name: main,
      type: style === 'service-worker' ? 'commonjs' : 'esm',
      content: new Uint8Array(code.contents),
    },
    ...[...separate.values()].sort((left, right) => (left.name < right.name ? -1 : 1)),
  ];
  return {
    main,
    modules,
    sourceMap: map === undefined ? undefined : new Uint8Array(map.contents),
    bytes: bytesOf(modules),
    largest: largestInputs(result.metafile, separate),
    warnings: [
      ...warnings,
      ...addedFlagTexts(project, added),
      ...result.warnings.filter((message) => !isOptionalImport(message)).map(messageText),
    ],
    addedFlags: [...added.keys(), ...globals].sort(),
    style,
    inputs: inputFiles(project, result.metafile),
  };
}

/** With `noBundle` the files are uploaded as they are: another tool has bundled them. */
async function unbundled(project: CodeProject): Promise<Bundle> {
  const { main, modules: files } = await additionalModules(project);
  const asScript = project.config.style === 'service-worker' || (await isScriptFile(project.main));
  const style = project.config.style === 'module' && asScript ? 'service-worker' : project.config.style;
  const modules = files.map((file) =>
    asScript && file.name === main ? { ...file, type: 'commonjs' as const } : file,
  );
  const bySize = modules.map(({ name, content }) => ({ path: name, bytes: content.byteLength }));
  return {
    main,
    modules,
    sourceMap: await mapBeside(project.main),
    bytes: bytesOf(modules),
    largest: bySize.sort((left, right) => right.bytes - left.bytes).slice(0, LARGEST_SHOWN),
    warnings: [],
    addedFlags: [],
    style,
    inputs: [project.main],
  };
}

const bytesOf = (modules: readonly BundledModule[]): number =>
  modules.reduce((sum, module) => sum + module.content.byteLength, 0);

async function mapBeside(main: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  return await readFile(`${main}.map`).then(
    (bytes) => new Uint8Array(bytes),
    () => undefined,
  );
}

function addedFlagTexts(project: CodeProject, added: AddedFlags): string[] {
  return [...added].map(
    ([flag, { since, modules }]) =>
      `${[...modules].join(', ')} came after compatibility date ${project.config.compatibilityDate}: the flag ${flag} was added for it (on by default from ${since})`,
  );
}

/** A `require` in a `try`: the package says itself what it does without. */
function isOptionalImport(message: Message): boolean {
  const specifier = unresolved(message);
  return specifier !== undefined && (builtinName(specifier) !== undefined || !isDenoImport(specifier));
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
    problems: problemsOfBundle(messages as readonly Message[]),
    cause: thrown,
  });
}

function messageText(message: Message): string {
  const at = message.location === null ? '' : `${message.location.file}:${message.location.line}: `;
  return `${at}${message.text}`;
}

/** Modules that a plugin made up have a namespace in front, and are no files. */
function inputFiles(project: CodeProject, metafile: Metafile): readonly string[] {
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
