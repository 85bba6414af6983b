/**
 * Packages that are native code: an isolate loads none. What a program imports itself is refused; what a package
 * asks for by `require` becomes a module that throws, since such requires often stand in a `try` with something to
 * fall back on.
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { OnResolveArgs, Plugin } from 'esbuild';

const NAMESPACE = 'isoplane-native';

/** Well-known ones that their package.json does not tell, and what people use on Workers instead. */
const REPLACEMENTS: ReadonlyMap<string, string> = new Map([
  ['argon2', '@noble/hashes'],
  ['bcrypt', 'bcryptjs'],
  ['better-sqlite3', '@libsql/client/web'],
  ['canvas', '@resvg/resvg-wasm'],
  ['@napi-rs/canvas', '@resvg/resvg-wasm'],
  ['@node-rs/argon2', '@noble/hashes'],
  ['@node-rs/bcrypt', 'bcryptjs'],
  ['@resvg/resvg-js', '@resvg/resvg-wasm'],
  ['isolated-vm', 'a function of its own'],
  ['node-sass', 'sass'],
  ['re2', 're2-wasm'],
  ['sharp', '@jsquash/jpeg, @jsquash/png or @cf-wasm/photon'],
  ['sqlite3', '@libsql/client/web'],
]);

/** Helpers that only packages with native code depend on. */
const LOADERS = [
  'bindings',
  'node-gyp-build',
  'node-gyp-build-optional-packages',
  'node-addon-api',
  'node-pre-gyp',
  '@mapbox/node-pre-gyp',
  'prebuild-install',
  'nan',
];

interface Manifest {
  readonly name?: string;
  readonly gypfile?: boolean;
  readonly napi?: unknown;
  readonly browser?: unknown;
  readonly exports?: unknown;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** Whether a package is native code without another form for browsers and workers. Pure. */
export function isNative(manifest: Manifest, hasGypFile: boolean): boolean {
  const other =
    manifest.browser !== undefined ||
    /"(?:browser|worker|workerd|edge-light)"/.test(JSON.stringify(manifest.exports ?? {}));
  if (other) return false;
  return (
    hasGypFile ||
    manifest.gypfile === true ||
    manifest.napi !== undefined ||
    LOADERS.some((name) => manifest.dependencies?.[name] !== undefined) ||
    REPLACEMENTS.has(manifest.name ?? '')
  );
}

function sentence(name: string): string {
  const instead = REPLACEMENTS.get(name);
  return `${name} is native code and cannot run in an isolate${instead === undefined ? '' : `; use ${instead} instead`}`;
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

export function nativePackages(warn: (text: string) => void): Plugin {
  const known = new Map<string, Promise<boolean>>();
  return {
    name: 'isoplane-native',
    setup(context) {
      const refusal = (request: OnResolveArgs, name: string) => {
        const byPackage = request.importer.includes('node_modules');
        if (!byPackage || request.kind === 'import-statement') return { errors: [{ text: sentence(name) }] };
        warn(
          `${sentence(name)}; ${packageFolderOf(request.importer)} asks for it and gets an error at run time`,
        );
        return { path: name, namespace: NAMESPACE };
      };
      context.onResolve({ filter: /\.node$/ }, (request) => refusal(request, request.path));
      context.onResolve({ filter: /^[^./]/ }, async (request) => {
        if (request.kind === 'entry-point' || request.path.includes(':')) return undefined;
        const name = packageOf(request.path);
        const folder = await packageFolder(request.resolveDir, name);
        if (folder === undefined) return undefined;
        const native = known.get(folder) ?? judge(folder);
        known.set(folder, native);
        return (await native) ? refusal(request, name) : undefined;
      });
      context.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }) => ({
        contents: `throw new Error(${JSON.stringify(sentence(path))});`,
        loader: 'js',
      }));
    },
  };
}

function packageFolderOf(path: string): string {
  return packageOf(path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length));
}

async function packageFolder(from: string, name: string): Promise<string | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (await exists(join(candidate, 'package.json'))) return candidate;
    if (folder === dirname(folder)) return undefined;
  }
}

async function judge(folder: string): Promise<boolean> {
  const text = await readFile(join(folder, 'package.json'), 'utf8');
  const manifest = JSON.parse(text) as Manifest;
  return isNative(manifest, await exists(join(folder, 'binding.gyp')));
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
