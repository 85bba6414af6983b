/**
 * Declarations of functions that another one is bound to.
 *
 * Their sources mean another `Env` than that of who imports them, and a program of TypeScript has one global of a name:
 * checked together, one of the two is wrong. So each function is compiled to declarations under its own settings and
 * its own `Env`, and those are what the other imports. Beside `.isoplane` nothing is written.
 */
import { execFile } from 'node:child_process';
import { rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { makeStateFolder } from '../project/state-folder.ts';
import type { CodeProject } from '../project/project.ts';

const run = promisify(execFile);
const COMPILE_MS_MAX = 60_000;

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** The compiler that a project has; undefined where its packages are not installed. */
function compilerOf(root: string): string | undefined {
  try {
    const require = createRequire(join(root, 'package.json'));
    const path = require.resolve('typescript/package.json');
    const { bin } = require(path) as { readonly bin?: Readonly<Record<string, string>> };
    return bin?.['tsc'] === undefined ? undefined : join(dirname(path), bin['tsc']);
  } catch {
    return undefined;
  }
}

export interface DeclarationTarget {
  readonly project: CodeProject;
  /** Types of its `env`, as text. */
  readonly env: string;
  /** Folder in which it and its settings are put for the compiler. */
  readonly work: string;
}

/**
 * Writes `FOLDER/NAME.d.ts` with what the function exports.
 *
 * @returns that file; undefined where there is no compiler, or it makes nothing of the sources.
 */
export async function writeDeclarations(
  { project, env, work }: DeclarationTarget,
  folder: string,
): Promise<string | undefined> {
  const compiler = compilerOf(project.root) ?? compilerOf(folder);
  if (compiler === undefined) return undefined;
  const out = join(folder, project.name);
  try {
    for (const made of [work, folder]) await makeStateFolder(made);
  } catch {
    // Somebody else's project, which this user may read.
    return undefined;
  }
  await rm(out, { recursive: true, force: true });
  const own = project.tsconfig ?? join(project.root, 'tsconfig.json');
  await writeFile(join(work, 'env.d.ts'), env);
  await writeFile(
    join(work, 'tsconfig.json'),
    JSON.stringify({
      ...((await exists(own)) ? { extends: own } : {}),
      compilerOptions: {
        ...((await exists(own)) ? {} : { module: 'ESNext', moduleResolution: 'Bundler', target: 'ES2023' }),
        allowImportingTsExtensions: true,
        allowJs: true,
        composite: false,
        declaration: true,
        declarationMap: false,
        emitDeclarationOnly: true,
        incremental: false,
        noEmit: false,
        noEmitOnError: false,
        outDir: out,
        // Sources outside the project have a place in the output, too.
        rootDir: '/',
        skipLibCheck: true,
      },
      files: [project.main, './env.d.ts'],
      include: [],
    }),
  );
  // Errors in its types are for its own check to find.
  await run(process.execPath, [compiler, '-p', work], { timeout: COMPILE_MS_MAX }).catch(() => undefined);
  const made = `${project.name}${project.main.replace(/\.[^./]+$/, '')}`;
  if (!(await exists(join(folder, `${made}.d.ts`)))) return undefined;
  const file = join(folder, `${project.name}.d.ts`);
  const from = `'./${made}.js'`;
  await writeFile(file, `export * from ${from};\nexport { default } from ${from};\n`);
  return file;
}
