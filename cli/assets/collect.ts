/** The files of a project's assets folder: what is uploaded, and what is left out. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { assetPathProblem } from '#shared/assets/manifest.ts';
import { readHeaderRules, readRedirects, type RuleProblem } from '#shared/assets/rule-files.ts';
import type { AssetFile, AssetsConfig } from '#shared/contracts/assets.ts';
import { digestSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { CliError, type Problem } from '../failure.ts';
import { bytesText } from '../output.ts';

export interface LocalAsset extends AssetFile {
  /** Absolute path on this machine. */
  readonly source: string;
}

export interface CollectedAssets {
  readonly files: readonly LocalAsset[];
  readonly bytes: number;
  /** Text of `_headers` and `_redirects`. */
  readonly headers: string | undefined;
  readonly redirects: string | undefined;
  readonly warnings: readonly string[];
}

/** Never uploaded, whatever .assetsignore says: they are read, not served. */
const RULES = ['_headers', '_redirects', '.assetsignore'];
/** Left out unless .assetsignore asks for them with `!`. */
const LEFT_OUT = [
  '.git',
  '.dev.vars*',
  '.env*',
  '.DS_Store',
  '.isoplane',
  '.wrangler',
  'node_modules',
  '/_worker.js',
  '/isoplane.json',
  '/isoplane.jsonc',
  '/wrangler.json',
  '/wrangler.jsonc',
  '/wrangler.toml',
];
const LARGEST_SHOWN = 5;
const PROBLEMS_SHOWN = 20;

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

async function digestOf(path: string): Promise<AssetFile['digest']> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return digestSchema.parse(hash.digest('hex'));
}

interface Walk {
  readonly root: string;
  readonly ignored: Ignore;
  readonly found: { readonly path: string; readonly source: string; readonly bytes: number }[];
  readonly warnings: string[];
}

async function walk(context: Walk, folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const source = join(folder, entry.name);
    const name = relative(context.root, source).split(sep).join('/');
    if (context.ignored.ignores(entry.isDirectory() ? `${name}/` : name)) continue;
    const info = entry.isSymbolicLink() ? await target(context, source, name) : await stat(source);
    if (info?.isDirectory() === true && !entry.isSymbolicLink()) await walk(context, source);
    else if (info?.isFile() === true) {
      context.found.push({ path: `/${name}`, source, bytes: info.size });
      if (context.found.length > LIMITS.assetsPerVersionMax)
        throw new CliError(
          'assets_too_large',
          `${context.root} holds more than ${LIMITS.assetsPerVersionMax} files.`,
          { advice: 'Leave out what is not served with a .assetsignore file.' },
        );
    }
  }
}

/** A link may lead to a file of the same folder, and nowhere else. */
async function target({ root, warnings }: Walk, source: string, name: string) {
  const real = await realpath(source).catch(() => undefined);
  const info = real?.startsWith(root + sep) === true ? await stat(real) : undefined;
  if (info?.isFile() !== true)
    warnings.push(`assets: left out ${name}: the link leads to no file of the folder`);
  return info;
}

function ruleWarnings(name: string, problems: readonly RuleProblem[]): string[] {
  return problems.slice(0, PROBLEMS_SHOWN).map(({ line, message }) => `${name}:${line}: skipped: ${message}`);
}

function refuseTooLarge(files: Walk['found']): void {
  const large = files.filter(({ bytes }) => bytes > LIMITS.assetBytesMax);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const shown =
    large.length > 0 ? large : [...files].sort((a, b) => b.bytes - a.bytes).slice(0, LARGEST_SHOWN);
  if (large.length === 0 && total <= LIMITS.assetsBytesMax) return;
  throw new CliError(
    'assets_too_large',
    large.length > 0
      ? `Files of the assets folder are larger than ${bytesText(LIMITS.assetBytesMax)}.`
      : `The assets folder holds ${bytesText(total)}; at most ${bytesText(LIMITS.assetsBytesMax)} are accepted.`,
    {
      problems: shown.map(({ path, bytes }) => ({ at: path, message: bytesText(bytes) })),
      advice: 'Leave out what is not served with a .assetsignore file.',
    },
  );
}

function refuseBadPaths(files: Walk['found']): void {
  const problems = files.flatMap(({ path }): Problem[] => {
    const message = assetPathProblem(path);
    return message === undefined ? [] : [{ at: JSON.stringify(path), message }];
  });
  if (problems.length > 0)
    throw new CliError('assets_invalid', 'Files of the assets folder have names that no URL can have.', {
      problems: problems.slice(0, PROBLEMS_SHOWN),
    });
}

/** @throws {CliError} `assets_not_found`, `assets_too_large` or `assets_invalid` */
export async function collectAssets(directory: string, config: AssetsConfig): Promise<CollectedAssets> {
  const root = await realpath(directory).catch(() => undefined);
  if (root === undefined || !(await stat(root)).isDirectory())
    throw new CliError('assets_not_found', `There is no folder ${directory}.`, {
      advice: 'It is named by assets.directory. Has the site been built?',
    });
  const own = await textOf(join(root, '.assetsignore'));
  const ignored = ignore()
    .add(LEFT_OUT)
    .add(own ?? '')
    .add(RULES.map((name) => `/${name}`));
  const context: Walk = { root, ignored, found: [], warnings: [] };
  await walk(context, root);
  refuseTooLarge(context.found);
  refuseBadPaths(context.found);
  const [headers, redirects] = await Promise.all([
    textOf(join(root, '_headers')),
    textOf(join(root, '_redirects')),
  ]);
  const htmlHandling = config.htmlHandling !== 'none';
  const files: LocalAsset[] = [];
  for (const { path, source, bytes } of context.found)
    files.push({ path, source, bytes, digest: await digestOf(source) });
  files.sort((left, right) => (left.path < right.path ? -1 : 1));
  return {
    files,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    headers,
    redirects,
    warnings: [
      ...context.warnings,
      ...ruleWarnings('_headers', readHeaderRules(headers ?? '').problems),
      ...ruleWarnings('_redirects', readRedirects(redirects ?? '', { htmlHandling }).problems),
    ],
  };
}
