/**
 * Node's built-in modules: workerd provides them with `nodejs_compat`, so they stay imports. Packages name
 * them bare (`fs`) or by `require`; both are turned into `node:` imports, which is the only form workerd has.
 */
import { builtinModules } from 'node:module';
import type { PartialMessage, Plugin } from 'esbuild';

const BARE = new Set(builtinModules.filter((name) => !name.startsWith('_')));
const NAMESPACE = 'isoplane-node';
/** Needs its own, smaller flag only. */
const ALS_MODULE = 'node:async_hooks';

export function nodeBuiltins(flags: readonly string[]): Plugin {
  const provided = flags.includes('nodejs_compat') || flags.includes('nodejs_compat_v2');
  const withAls = provided || flags.includes('nodejs_als');
  return {
    name: 'isoplane-node-builtins',
    setup(context) {
      context.onResolve({ filter: /^[a-z_0-9:/]+$/ }, async (request) => {
        if (request.namespace === NAMESPACE) return { path: request.path, external: true };
        if (request.kind === 'entry-point' || request.pluginData === NAMESPACE) return undefined;
        const isPrefixed = request.path.startsWith('node:');
        if (!isPrefixed && !BARE.has(request.path)) return undefined;
        const name = isPrefixed ? request.path : `node:${request.path}`;
        if (!isPrefixed && (await isPackage(request))) return undefined;
        if (!provided && !(withAls && name === ALS_MODULE)) return { errors: [missingFlag(request.path)] };
        if (request.kind === 'require-call') return { path: name, namespace: NAMESPACE };
        return { path: name, external: true };
      });
      // A CommonJS file needs the module object at once; an import in a wrapper gives it.
      context.onLoad({ filter: /.*/, namespace: NAMESPACE }, ({ path }) => ({
        contents: `import builtin from ${JSON.stringify(path)}; module.exports = builtin;`,
        loader: 'js',
      }));

      /** An installed package of that name (`buffer`, `events`) wins over the built-in, as bundlers do for browsers. */
      async function isPackage(request: {
        path: string;
        resolveDir: string;
        importer: string;
      }): Promise<boolean> {
        if (provided) return false;
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

function missingFlag(path: string): PartialMessage {
  return {
    text: `"${path}" is a module of Node.js; add "nodejs_compat" to compatibilityFlags to use it`,
  };
}
