/** Where imports lead that are not plain code: aliases, what exists only in the runtime, files that stay files. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { OnResolveArgs, Plugin, PluginBuild } from 'esbuild';
import type { CodeProject } from '../project/project.ts';
import { moduleNameFor, moduleTypeOf, type BundledModule } from './modules.ts';

const ALIASED = Symbol('aliased');

/** A specifier of `alias` is another one, or a file of the project. */
export function aliases(project: CodeProject): Plugin {
  return {
    name: 'isoplane-alias',
    setup(context) {
      if (Object.keys(project.alias).length === 0) return;
      context.onResolve({ filter: /.*/ }, async (request) => {
        if (request.pluginData === ALIASED || request.kind === 'entry-point') return undefined;
        const target = project.alias[request.path];
        if (target === undefined) return undefined;
        return await context.resolve(target, {
          kind: request.kind,
          resolveDir: project.root,
          importer: request.importer,
          pluginData: ALIASED,
        });
      });
    },
  };
}

/**
 * Layer modules and the runtime's own modules exist only where the function runs. Layers are named
 * relative to the one module at the root that the bundle becomes: an absolute specifier means another
 * place to the module registry of newer compatibility dates.
 */
export function external(): Plugin {
  return {
    name: 'isoplane-external',
    setup(context) {
      context.onResolve({ filter: /^(\/opt\/|cloudflare:|workerd:)/ }, ({ path }) => ({
        path: path.startsWith('/') ? `.${path}` : path,
        external: true,
      }));
      // The bundler would leave the last two to the runtime, which has no such modules.
      context.onResolve({ filter: /^(jsr:|npm:|https?:\/\/)/ }, ({ path }) => ({
        errors: [{ text: `Could not resolve "${path}"` }],
      }));
    },
  };
}

const RESOLVED = Symbol('resolved');

/** wasm, text, data and json files that a rule names: uploaded beside the code, imported by content hash. */
export function separateModules(project: CodeProject, modules: Map<string, BundledModule>): Plugin {
  return {
    name: 'isoplane-modules',
    setup(context) {
      context.onStart(() => modules.clear());
      context.onResolve({ filter: /.*/ }, async (request) => {
        if (request.pluginData === RESOLVED || request.kind === 'entry-point') return undefined;
        const [specifier = '', query] = request.path.split('?', 2);
        const type = moduleTypeOf(request.path, project.rules);
        if (type === undefined) return undefined;
        if (type === 'esm' || type === 'commonjs') return await besideTheBundle(context, request, project);
        if (query !== undefined && query !== 'module')
          return {
            errors: [
              {
                text: `"${request.path}": ?${query} is a bundler's own suffix; import the file without it (it is then a ${type} module)`,
              },
            ],
          };
        const found = await locate(context, request, specifier);
        if (typeof found !== 'string') return found;
        const content = new Uint8Array(await readFile(found));
        const name = moduleNameFor(found, content);
        modules.set(name, { name, type, content });
        return { path: `./${name}`, external: true, watchFiles: [found] };
      });
    },
  };
}

/** Code that is uploaded under its own name stays an import; all other code is bundled. */
async function besideTheBundle(context: PluginBuild, request: OnResolveArgs, project: CodeProject) {
  if (!project.findAdditionalModules || !/^\.{1,2}\//.test(request.path)) return undefined;
  const path = await locate(context, request, request.path);
  const base = project.baseDir ?? dirname(project.main);
  if (typeof path !== 'string' || !path.startsWith(`${base}/`)) return undefined;
  const name = relative(dirname(project.main), path);
  return { path: name.startsWith('.') ? name : `./${name}`, external: true };
}

/** The file behind an import; a file that a package ships but does not list in its `exports` counts too. */
async function locate(context: PluginBuild, request: OnResolveArgs, specifier: string) {
  const resolved = await context.resolve(specifier, {
    kind: request.kind,
    resolveDir: request.resolveDir,
    importer: request.importer,
    pluginData: RESOLVED,
  });
  if (resolved.errors.length === 0) return resolved.path;
  if (!/^[./]/.test(specifier)) {
    for (let folder = request.resolveDir; ; folder = dirname(folder)) {
      const path = join(folder, 'node_modules', specifier);
      if (await isFile(path)) return path;
      if (folder === dirname(folder)) break;
    }
  } else {
    // `import './m.wasm'` beside a file of that very name that the resolver took for something else.
    const path = join(request.resolveDir, specifier);
    if (await isFile(path)) return path;
  }
  return { errors: resolved.errors };
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isFile(),
    () => false,
  );
}
