/** `isoplane types`: writes the types of `env`, of bound functions that are at hand, and of layers. */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { build } from 'esbuild';
import { z } from 'zod';
import type { Context } from '../context.ts';
import { readLayerFolder } from '../bundle/layer-folder.ts';
import { isScriptFile } from '../bundle/script.ts';
import { modulesOf } from '../dev/layers.ts';
import { readValues } from '../dev/values.ts';
import { parseLayer } from './dev.ts';
import { CliError, EXIT } from '../failure.ts';
import type { Project } from '../project/project.ts';
import { readProject } from '../project/read-project.ts';
import { typesText, type LayerModule } from '../types/types.ts';

const optionsSchema = z.object({
  check: z.boolean().default(false),
  output: z.string().default('isoplane-env.d.ts'),
  layer: z.array(z.string()).default([]),
});

/** Folders around the project that are looked through for functions that it is bound to. */
const NEIGHBOURS_MAX = 200;

export async function types(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const { output: file, check, layer } = optionsSchema.parse(given);
  const project = await readProject(args[0] ?? '.');
  const path = resolve(project.root, file);
  const text = typesText({
    config: project.config,
    isScript:
      project.config.style === 'service-worker' ||
      (project.main !== undefined && (await isScriptFile(project.main))),
    values: Object.keys(await readValues(project.root)),
    functions: await functionsAround(project, dirname(path)),
    layers: await layersOf(context, project, {
      folders: new Map(layer.map(parseLayer)),
      from: dirname(path),
    }),
  });
  const before = await readFile(path, 'utf8').catch(() => undefined);
  if (check && before !== text)
    throw new CliError('types_stale', `${file} does not fit the configuration.`, {
      advice: 'Run `isoplane types` and commit what it writes.',
    });
  if (before !== text) await writeFile(path, text);
  context.output.result({ path, changed: before !== text }, () =>
    before === text ? `${file} is up to date` : `wrote ${file}`,
  );
  return EXIT.done;
}

/** As a module specifier seen from a folder. */
function specifier(from: string, file: string): string {
  const path = relative(from, file).split(sep).join('/');
  return path.startsWith('.') ? path : `./${path}`;
}

/** Function name → entry file, of the projects that lie beside this one. */
async function functionsAround(project: Project, from: string): Promise<Map<string, string>> {
  const wanted = new Set<string>(project.config.services.map((service) => service.function));
  const found = new Map<string, string>();
  if (wanted.has(project.name) && project.main !== undefined)
    found.set(project.name, specifier(from, project.main));
  const parent = dirname(project.root);
  const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
  for (const entry of entries.filter((each) => each.isDirectory()).slice(0, NEIGHBOURS_MAX)) {
    if (found.size === wanted.size) break;
    const other = await readProject(join(parent, entry.name)).catch(() => undefined);
    if (other?.main !== undefined && wanted.has(other.name))
      found.set(other.name, specifier(from, other.main));
  }
  return found;
}

interface LayerPlaces {
  readonly folders: ReadonlyMap<string, string>;
  readonly from: string;
}

/** A folder of the layer's name in the project is its source, as in `--layer NAME=FOLDER`. */
async function layersOf(
  context: Context,
  project: Project,
  { folders, from }: LayerPlaces,
): Promise<LayerModule[]> {
  const modules = new Map<string, LayerModule>();
  for (const ref of project.config.layers) {
    const beside = join(project.root, ref.name);
    const folder = folders.get(ref.name) ?? ((await isFolder(beside)) ? beside : undefined);
    const content =
      folder === undefined
        ? await modulesOf(ref, {
            folders,
            cacheDir: join(project.root, '.isoplane', 'dev', 'layers'),
            remote: async () => (await context.platform()).api,
          })
        : await readLayerFolder(folder);
    for (const module of content) {
      const name = `/opt/${module.name}`;
      if (module.type !== 'esm' || modules.has(name)) continue;
      const source = folder === undefined ? undefined : await sourceOf(folder, module.name);
      modules.set(name, {
        specifier: name,
        exports: await exportsOf(module.content),
        source: source === undefined ? undefined : specifier(from, source),
      });
    }
  }
  return [...modules.values()];
}

/** The TypeScript file that the module was made of; JavaScript has types when one stands beside it. */
async function sourceOf(folder: string, name: string): Promise<string | undefined> {
  const base = join(folder, name.replace(/\.js$/, ''));
  for (const [file, as] of [
    [`${base}.ts`, `${base}.ts`],
    [`${base}.mts`, `${base}.mts`],
    [`${base}.d.ts`, `${base}.js`],
  ] as const)
    if (
      await stat(file).then(
        () => true,
        () => false,
      )
    )
      return as;
  return undefined;
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );

async function exportsOf(content: Uint8Array): Promise<readonly string[]> {
  const result = await build({
    stdin: { contents: new TextDecoder().decode(content), loader: 'js' },
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    logLevel: 'silent',
    plugins: [
      {
        name: 'alone',
        setup: (context) =>
          context.onResolve({ filter: /.*/ }, ({ path, kind }) =>
            kind === 'entry-point' ? undefined : { path, external: true },
          ),
      },
    ],
  });
  const names = Object.values(result.metafile.outputs).flatMap((output) => output.exports);
  return names.filter((name) => /^[A-Za-z_$][\w$]*$/.test(name)).toSorted();
}
