/** Reads a folder as the modules of a layer. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { moduleNameProblem, type ModuleType } from '#shared/contracts/modules.ts';
import { LIMITS } from '#shared/limits.ts';
import { CliError } from '../failure.ts';
import { bundleFailure } from './bundle.ts';
import type { BundledModule } from './modules.ts';

const TYPE_BY_EXTENSION: Readonly<Record<string, ModuleType>> = {
  js: 'esm',
  mjs: 'esm',
  ts: 'esm',
  mts: 'esm',
  cjs: 'commonjs',
  wasm: 'wasm',
  txt: 'text',
  html: 'text',
  sql: 'text',
  md: 'text',
  bin: 'data',
  json: 'json',
};

/** All files below the folder by name; TypeScript becomes JavaScript under the name with `.js`. */
export async function readLayerFolder(folder: string): Promise<BundledModule[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((thrown: unknown) => {
    throw new CliError('folder_unreadable', `The folder ${folder} cannot be read.`, { cause: thrown });
  });
  const modules: BundledModule[] = [];
  const unknown: string[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const file = relative(folder, path).split(sep).join('/');
    if (
      !entry.isFile() ||
      /(^|\/)(\.|node_modules\/|package(-lock)?\.json$)/.test(file) ||
      file.endsWith('.d.ts')
    )
      continue;
    const extension = file.slice(file.lastIndexOf('.') + 1);
    const type = TYPE_BY_EXTENSION[extension];
    const name = file.replace(/\.m?ts$/, '.js');
    if (type === undefined || moduleNameProblem(name) !== undefined) {
      unknown.push(file);
      continue;
    }
    const content = await moduleContent(path, file, extension);
    bytes += content.byteLength;
    if (bytes > LIMITS.bundleBytesMax)
      throw new CliError('bundle_too_large', `The layer is larger than ${LIMITS.bundleBytesMax} bytes.`);
    modules.push({ name, type, content });
  }
  if (unknown.length > 0) {
    throw new CliError('layer_invalid', 'The layer holds files that cannot be modules.', {
      problems: unknown.map((file) => ({
        at: file,
        message: moduleNameProblem(file) ?? 'unknown kind of file',
      })),
      advice: `Move them away; modules are ${Object.keys(TYPE_BY_EXTENSION).join(', ')}.`,
    });
  }
  if (modules.length === 0) throw new CliError('layer_invalid', `The folder ${folder} holds no modules.`);
  return modules.sort((left, right) => (left.name < right.name ? -1 : 1));
}

async function moduleContent(
  path: string,
  file: string,
  extension: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(await readFile(path));
  if (extension !== 'ts' && extension !== 'mts') return bytes;
  try {
    const result = await build({
      stdin: {
        contents: new TextDecoder().decode(bytes),
        loader: 'ts',
        sourcefile: file,
        resolveDir: dirname(path),
      },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'neutral',
      target: 'es2024',
      charset: 'utf8',
      logLevel: 'silent',
      plugins: [keepImports],
    });
    return new Uint8Array(result.outputFiles[0]?.contents ?? []);
  } catch (thrown) {
    throw bundleFailure(thrown);
  }
}

/** Modules of a layer import one another where the function runs; only the name of a compiled one changes. */
const keepImports: Plugin = {
  name: 'isoplane-keep-imports',
  setup(context) {
    context.onResolve({ filter: /.*/ }, ({ path, kind }) =>
      kind === 'entry-point'
        ? undefined
        : { path: /^\.{0,2}\//.test(path) ? path.replace(/\.m?ts$/, '.js') : path, external: true },
    );
  },
};
