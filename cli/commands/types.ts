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
import type { CodeProject, Project } from '../project/project.ts';
import { readProject } from '../project/read-project.ts';
import { writeDeclarations } from '../types/declarations.ts';
import { typesText, type LayerModule } from '../types/types.ts';

const optionsSchema = z.object({
  check: z.boolean().default(false),
  env: z.string().optional(),
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
  const { env: environment, output: file, check, layer } = optionsSchema.parse(given);
  const project = await readProject(args[0] ?? '.', { environment, origin: 'written' });
  const path = resolve(project.root, file);
  const text = typesText({
    config: project.config,
    isScript: await isScriptProject(project),
    values: Object.keys(await readValues(project.root, environment)),
    functions: await functionsOf(context, project, dirname(path)),
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
  return /^\.\.?\//.test(path) ? path : `./${path}`;
}

/** Functions that it is bound to and that lie beside it, by name. */
async function projectsAround(project: Project): Promise<Map<string, CodeProject>> {
  const wanted = new Set<string>(project.config.services.map((service) => service.function));
  wanted.delete(project.name);
  const found = new Map<string, CodeProject>();
  const parent = dirname(project.root);
  const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
  for (const entry of entries.filter((each) => each.isDirectory()).slice(0, NEIGHBOURS_MAX)) {
    if (found.size === wanted.size) break;
    const other = await readProject(join(parent, entry.name), { origin: 'written' }).catch(() => undefined);
    if (other?.main !== undefined && wanted.has(other.name))
      found.set(other.name, { ...other, main: other.main });
  }
  return found;
}

/** Function name → specifier of what it exports. */
async function functionsOf(
  context: Context,
  project: Project,
  from: string,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  if (project.main !== undefined) found.set(project.name, specifier(from, project.main));
  const folder = join(project.root, '.isoplane', 'types');
  for (const [name, other] of await projectsAround(project)) {
    const work = join(other.root, '.isoplane', `types-for-${project.name}`);
    const file = await writeDeclarations(
      { project: other, work, env: await envOf(context, other, work) },
      folder,
    );
    if (file === undefined)
      context.output.warn(
        `types of ${name} are read from its sources, where \`Env\` means that of ${project.name}: install typescript to keep the two apart`,
      );
    found.set(name, specifier(from, file === undefined ? other.main : file.replace(/\.d\.ts$/, '.js')));
  }
  return found;
}

/** The types of its `env`, for the compiler alone: what cannot be had, such as a layer of a platform, is left out. */
async function envOf(context: Context, project: CodeProject, from: string): Promise<string> {
  const around = await projectsAround(project);
  return typesText({
    config: project.config,
    isScript: await isScriptProject(project),
    values: Object.keys(await readValues(project.root)),
    functions: new Map([...around].map(([name, { main }]) => [name, specifier(from, main)])),
    layers: await layersOf(context, project, { folders: new Map(), from }).catch(() => []),
  });
}

async function isScriptProject({ config, main }: Project): Promise<boolean> {
  return config.style === 'service-worker' || (main !== undefined && (await isScriptFile(main)));
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
