/**
 * Packages that bring to Node.js what the runtime has by itself: with `nodejs_compat` they are the runtime's own, as
 * wrangler has it. Their code for Node.js would open sockets that workerd does not have, or fail at its start.
 */
import type { Plugin } from 'esbuild';
import { isFlagOn } from '#shared/compatibility/flags.ts';
import type { CodeProject } from '../project/project.ts';

const NAMESPACE = 'isoplane-npm-shim';

/** Callable, with members, and a default export: however the package is imported. */
const FETCH = `const own = (input, init) => fetch(input, init);
module.exports = Object.assign(own, {
  __esModule: true, default: own, fetch: own, Headers, Request, Response, FormData, Blob, File, AbortController,
  AbortError: DOMException, FetchError: class FetchError extends Error { name = 'FetchError'; },
  isRedirect: (code) => [301, 302, 303, 307, 308].includes(code),
});`;

/** Of util, without util. */
const INHERITS = `module.exports = (constructor, parent) => {
  if (!parent) return;
  constructor.super_ = parent;
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
};
module.exports.default = module.exports;`;

const NOTHING = 'module.exports = {};';

const SHIMS: Readonly<Record<string, string>> = {
  'node-fetch': FETCH,
  'node-fetch-native': FETCH,
  'cross-fetch': FETCH,
  'node-fetch-native/polyfill': NOTHING,
  'cross-fetch/polyfill': NOTHING,
  'isomorphic-fetch': NOTHING,
  inherits: INHERITS,
  fsevents: NOTHING,
};

export function npmShims(project: CodeProject): Plugin {
  const { compatibilityDate: date, compatibilityFlags: flags } = project.config;
  return {
    name: 'isoplane-npm-shims',
    setup(context) {
      if (!isNodeLike(date, flags)) return;
      context.onResolve({ filter: /^[a-z][a-z/-]+$/ }, ({ path, kind }) =>
        kind !== 'entry-point' && Object.hasOwn(SHIMS, path) ? { path, namespace: NAMESPACE } : undefined,
      );
      context.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }) => ({
        contents: SHIMS[path] ?? NOTHING,
        loader: 'js',
      }));
    },
  };
}

/** The second generation of `nodejs_compat`, with which wrangler puts polyfills in. */
export function isNodeLike(date: string, flags: readonly string[]): boolean {
  if (flags.includes('nodejs_compat_v2')) return true;
  return (
    isFlagOn('nodejs_compat', date, flags) && date >= '2024-09-23' && !flags.includes('no_nodejs_compat_v2')
  );
}
