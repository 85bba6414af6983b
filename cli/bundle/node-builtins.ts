/**
 * Node's built-in modules: workerd has them, so they stay imports. Packages name them bare (`fs`) or by
 * `require`; both are turned into `node:` imports, which is the only form workerd has.
 *
 * A module that came after the project's compatibility date is switched on by its own flag, as wrangler puts a
 * polyfill in its place. Without `nodejs_compat` nothing is done here: the bundler then finds no such
 * package, which a `require` in a `try` may survive, and `advice.ts` says what is missing.
 */
import { isBuiltin } from 'node:module';
import type { Plugin } from 'esbuild';
import { nodeModule, NODE_MODULES } from './node-modules.ts';
import type { CodeProject } from '../project/project.ts';

const NAMESPACE = 'isoplane-node';

/** What the bundler switched on, by flag. */
export type AddedFlags = Map<string, { readonly since: string; readonly modules: Set<string> }>;

/** `fs` of `fs` and `node:fs`; undefined for what is no built-in module of Node's. */
export function builtinName(specifier: string): string | undefined {
  const name = specifier.replace(/^node:/, '');
  if (specifier.startsWith('node:')) return name;
  // `sqlite` and `test` without a prefix are packages.
  return NODE_MODULES.includes(name) && isBuiltin(name) ? name : undefined;
}

export function nodeBuiltins(project: CodeProject, added: AddedFlags): Plugin {
  const { compatibilityDate: date, compatibilityFlags: flags } = project.config;
  return {
    name: 'isoplane-node-builtins',
    setup(context) {
      context.onStart(() => added.clear());
      context.onResolve({ filter: /^[a-z_0-9:/]+$/ }, async (request) => {
        if (request.namespace === NAMESPACE) return { path: request.path, external: true };
        if (request.kind === 'entry-point' || request.pluginData === NAMESPACE) return undefined;
        const name = builtinName(request.path);
        if (name === undefined) return undefined;
        const answer = nodeModule(name, date, flags);
        if (answer.kind === 'off' || answer.kind === 'unknown') return undefined;
        // An installed package of that name (`punycode`) wins over a module that the date does not have yet.
        if (answer.kind === 'behind') {
          if (!request.path.startsWith('node:') && (await isPackage(request))) return undefined;
          const entry = added.get(answer.flag) ?? { since: answer.since, modules: new Set() };
          added.set(answer.flag, entry);
          entry.modules.add(`node:${name}`);
        }
        if (request.kind === 'require-call') return { path: `node:${name}`, namespace: NAMESPACE };
        return { path: `node:${name}`, external: true };
      });
      // A CommonJS file needs the module object at once; an import in a wrapper gives it.
      context.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }) => ({
        contents: `import builtin from ${JSON.stringify(path)}; module.exports = builtin;`,
        loader: 'js',
      }));

      async function isPackage(request: { path: string; resolveDir: string; importer: string }) {
        const resolved = await context.resolve(request.path, {
          kind: 'import-statement',
          resolveDir: request.resolveDir,
          importer: request.importer,
          pluginData: NAMESPACE,
        });
        return resolved.errors.length === 0 && !resolved.external;
      }
    },
  };
}
