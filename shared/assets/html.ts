/**
 * Which file answers a path: html handling and what stands in for a file that is not there
 * (https://developers.cloudflare.com/workers/static-assets/routing/). Pure.
 *
 * Each html file has one address; the others that could mean it redirect there. An address is that of a file
 * only when the address itself is not taken by another.
 */
import type { AssetFile, AssetsConfig } from '../contracts/assets.ts';
import { LIMITS } from '../limits.ts';

export interface Files {
  find(path: string): AssetFile | undefined;
  /** Those that have a 404.html, without a slash at their end. */
  readonly foldersWith404: ReadonlySet<string>;
}

export type Found =
  | { readonly kind: 'file'; readonly file: AssetFile; readonly status: 200 | 404 }
  | { readonly kind: 'moved'; readonly to: string };

type Handling = Pick<AssetsConfig, 'htmlHandling' | 'notFoundHandling'>;

interface Seeking {
  readonly files: Files;
  readonly handling: Handling;
}

/** @param path - decoded, without repeated slashes. */
export function findFile(files: Files, handling: Handling, path: string): Found | undefined {
  return seek({ files, handling }, path, true) ?? standIn({ files, handling }, path);
}

function seek(seeking: Seeking, path: string, mayMove: boolean): Found | undefined {
  switch (seeking.handling.htmlHandling) {
    case 'auto-trailing-slash':
      return autoTrailingSlash(seeking, path, mayMove);
    case 'force-trailing-slash':
      return forceTrailingSlash(seeking, path, mayMove);
    case 'drop-trailing-slash':
      return dropTrailingSlash(seeking, path, mayMove);
    case 'none':
      return serve(seeking, path);
  }
}

function serve({ files }: Seeking, path: string): Found | undefined {
  const file = files.find(path);
  return file === undefined ? undefined : { kind: 'file', file, status: 200 };
}

/** `to`, when that is where `path` is served and nothing of its own lies there. */
function move(seeking: Seeking, path: string, to: string): Found | undefined {
  const file = seeking.files.find(path);
  if (file === undefined || seeking.files.find(to) !== undefined) return undefined;
  const there = seek(seeking, to, false) ?? standIn(seeking, to);
  return there?.kind === 'file' && there.file.digest === file.digest ? { kind: 'moved', to } : undefined;
}

/** The first that leads somewhere. */
function firstMove(
  seeking: Seeking,
  mayMove: boolean,
  moves: readonly (readonly [path: string, to: string])[],
): Found | undefined {
  if (!mayMove) return undefined;
  for (const [path, to] of moves) {
    const moved = move(seeking, path, to);
    if (moved !== undefined) return moved;
  }
  return undefined;
}

const less = (path: string, end: string): string => path.slice(0, path.length - end.length);

/** about.html at /about, about/index.html at /about/. */
function autoTrailingSlash(seeking: Seeking, path: string, mayMove: boolean): Found | undefined {
  const exact = serve(seeking, path);
  const moved = (...moves: (readonly [string, string])[]): Found | undefined =>
    firstMove(seeking, mayMove, moves);
  let found: Found | undefined;
  if (path.endsWith('/index')) {
    const folder = less(path, '/index');
    found = exact ?? moved([`${path}.html`, `${folder}/`], [`${folder}.html`, folder]);
  } else if (path.endsWith('/index.html')) {
    const folder = less(path, '/index.html');
    found = moved([path, `${folder}/`], [`${folder}.html`, folder]);
  } else if (path.endsWith('/')) {
    const name = less(path, '/');
    found = serve(seeking, `${path}index.html`) ?? moved([`${name}.html`, name]);
  } else if (path.endsWith('.html')) {
    const name = less(path, '.html');
    found = moved([path, name], [`${name}/index.html`, `${name}/`]);
  }
  return found ?? exact ?? serve(seeking, `${path}.html`) ?? moved([`${path}/index.html`, `${path}/`]);
}

/** Both at /about/. */
function forceTrailingSlash(seeking: Seeking, path: string, mayMove: boolean): Found | undefined {
  const exact = serve(seeking, path);
  const moved = (...moves: (readonly [string, string])[]): Found | undefined =>
    firstMove(seeking, mayMove, moves);
  let found: Found | undefined;
  if (path.endsWith('/index')) {
    const folder = less(path, '/index');
    found = exact ?? moved([`${path}.html`, `${folder}/`], [`${folder}.html`, `${folder}/`]);
  } else if (path.endsWith('/index.html')) {
    const folder = less(path, '/index.html');
    found = moved([path, `${folder}/`], [`${folder}.html`, `${folder}/`]);
  } else if (path.endsWith('/')) {
    found = serve(seeking, `${path}index.html`) ?? serve(seeking, `${less(path, '/')}.html`);
  } else if (path.endsWith('.html')) {
    const name = less(path, '.html');
    // With about.html and about/index.html, the former is served at /about.html only.
    found = moved([path, `${name}/`]) ?? exact ?? moved([`${name}/index.html`, `${name}/`]);
  }
  return found ?? exact ?? moved([`${path}.html`, `${path}/`], [`${path}/index.html`, `${path}/`]);
}

/** Both at /about. */
function dropTrailingSlash(seeking: Seeking, path: string, mayMove: boolean): Found | undefined {
  const exact = serve(seeking, path);
  const moved = (...moves: (readonly [string, string])[]): Found | undefined =>
    firstMove(seeking, mayMove, moves);
  let found: Found | undefined;
  if (path === '/index') found = exact ?? moved(['/index.html', '/']);
  else if (path === '/index.html') found = moved([path, '/']);
  else if (path === '/') found = serve(seeking, '/index.html');
  else if (path.endsWith('/index')) {
    const folder = less(path, '/index');
    found = exact ?? moved([`${folder}.html`, folder], [`${path}.html`, folder]);
  } else if (path.endsWith('/index.html')) {
    const folder = less(path, '/index.html');
    // With about.html and about/index.html, the latter is served at /about/index.html only.
    found = moved([path, folder]) ?? exact ?? moved([`${folder}.html`, folder]);
  } else if (path.endsWith('/')) {
    const name = less(path, '/');
    found = moved([`${name}.html`, name], [`${name}/index.html`, name]);
  } else if (path.endsWith('.html')) {
    const name = less(path, '.html');
    found = moved([path, name], [`${name}/index.html`, name]);
  }
  return found ?? exact ?? serve(seeking, `${path}.html`) ?? serve(seeking, `${path}/index.html`);
}

function standIn(seeking: Seeking, path: string): Found | undefined {
  switch (seeking.handling.notFoundHandling) {
    case 'none':
      return undefined;
    case 'single-page-application':
      return serve(seeking, '/index.html');
    case '404-page': {
      const folder = nearest(seeking.files.foldersWith404, path);
      const file = folder === undefined ? undefined : seeking.files.find(`${folder}/404.html`);
      return file === undefined ? undefined : { kind: 'file', file, status: 404 };
    }
  }
}

const FOLDER_LENGTH_MAX = LIMITS.assetPathBytesMax;

/** Of the folders above a path. Callers choose it with hundreds of them: to seek a file in each takes milliseconds. */
function nearest(folders: ReadonlySet<string>, path: string): string | undefined {
  if (folders.size === 0) return undefined;
  for (let slash = path.lastIndexOf('/', FOLDER_LENGTH_MAX); slash >= 0;) {
    const folder = path.slice(0, slash);
    if (folders.has(folder)) return folder;
    slash = slash === 0 ? -1 : path.lastIndexOf('/', slash - 1);
  }
  return undefined;
}
