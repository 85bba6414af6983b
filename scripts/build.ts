/**
 * Builds `dist/` for the npm package (`prepack`): every source file becomes JavaScript at the same place in
 * the tree, because Node refuses to strip types below node_modules.
 *
 * File by file instead of one bundle: `import.meta.url` keeps its meaning, so migrations, templates and the
 * modules that run inside workerd are found beside the code that reads them, and stacks stay readable.
 */
import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const OUT = join(ROOT, 'dist');
const FOLDERS = ['shared', 'control', 'scheduler', 'gateway', 'nodes', 'cli'];

/** Compiled: TypeScript that Node runs. Copied: everything else that the code reads at run time. */
function kindOf(file: string): 'compile' | 'copy' | 'skip' {
  if (/\.test\.ts$|\/testing\/|\/tsconfig\.json$|\.md$|^cli\/(?:bin|own-node)\.js$/.test(file)) return 'skip';
  // Types that an importer reads are no code.
  if (file.startsWith('cli/templates/') || /\.(?:worker|d)\.ts$/.test(file)) return 'copy';
  return file.endsWith('.ts') ? 'compile' : 'copy';
}

/** Keeps each import an import: `#shared/x.ts` and `./x.ts` become relative paths to the compiled file. */
const keepImports: Plugin = {
  name: 'keep-imports',
  setup(context) {
    context.onResolve({ filter: /.*/ }, ({ path, importer, kind }) => {
      if (kind === 'entry-point') return undefined;
      if (!path.startsWith('#') && !path.startsWith('.')) return { path, external: true };
      const target = path.startsWith('#') ? path.slice(1) : relative(ROOT, resolve(dirname(importer), path));
      const from = dirname(relative(ROOT, importer)).split(sep).join(posix.sep);
      const to = posix.relative(from, target.split(sep).join(posix.sep)).replace(/\.ts$/, '.js');
      return { path: to.startsWith('.') ? to : `./${to}`, external: true };
    });
  },
};

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(join(ROOT, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join(posix.sep))
    .sort();
}

const files = (await Promise.all(FOLDERS.map(filesBelow))).flat();
const sources = files.filter((file) => kindOf(file) === 'compile');
const assets = files.filter((file) => kindOf(file) === 'copy');
if (sources.length === 0) throw new Error('nothing to build: the source folders are empty');

await rm(OUT, { recursive: true, force: true });
await build({
  entryPoints: sources.map((file) => join(ROOT, file)),
  outdir: OUT,
  outbase: ROOT,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  charset: 'utf8',
  logLevel: 'warning',
  plugins: [keepImports],
});
for (const file of assets) {
  await mkdir(dirname(join(OUT, file)), { recursive: true });
  await cp(join(ROOT, file), join(OUT, file));
}
process.stderr.write(`built ${sources.length} files, copied ${assets.length} into ${relative(ROOT, OUT)}/\n`);
