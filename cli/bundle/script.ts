/**
 * Programs of the service-worker format: scripts that add listeners and export nothing. They are told from modules by
 * that alone, as wrangler does.
 */
import { readFile } from 'node:fs/promises';
import { build, type BuildResult } from 'esbuild';

const LISTENS = /\baddEventListener\s*\(/;

/** @param result - of a build with `format: 'esm'` and a metafile. */
export function isScript({ metafile, outputFiles }: BuildResult): boolean {
  const entry = Object.values(metafile?.outputs ?? {}).find(({ entryPoint }) => entryPoint !== undefined);
  const code = outputFiles?.find(({ path }) => path.endsWith('.js'));
  return entry?.exports.length === 0 && code !== undefined && LISTENS.test(code.text);
}

/** Of an entry file, without what it imports. What cannot be read is not judged here. */
export async function isScriptFile(path: string): Promise<boolean> {
  if (!LISTENS.test(await readFile(path, 'utf8').catch(() => ''))) return false;
  const result = await build({
    entryPoints: [path],
    outfile: 'script.js',
    loader: { '.js': 'jsx', '.mjs': 'jsx', '.cjs': 'jsx' },
    format: 'esm',
    bundle: false,
    write: false,
    metafile: true,
    logLevel: 'silent',
  }).catch(() => undefined);
  return result !== undefined && isScript(result);
}
