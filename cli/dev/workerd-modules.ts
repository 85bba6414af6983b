/** The modules of a project as miniflare wants them: our entry in front, layers under `opt/`, as on a node. */
import type { Miniflare } from 'miniflare';
import { layerVersionViewSchema } from '#shared/contracts/api.ts';
import { LAYER_MOUNT, type ModuleType } from '#shared/contracts/modules.ts';
import type { EntryModules } from '#nodes/entry/pack.node.ts';
import type { BundledModule } from '../bundle/bundle.ts';
import type { ControlApi } from '../client/api.ts';
import type { Project } from '../project/project.ts';

type MiniflareOptions = Exclude<ConstructorParameters<typeof Miniflare>[0], { workers: unknown }>;
type ModuleDefinition = Extract<NonNullable<MiniflareOptions['modules']>, readonly unknown[]>[number];

const MINIFLARE_TYPE: Readonly<Record<ModuleType, ModuleDefinition['type']>> = {
  esm: 'ESModule',
  commonjs: 'CommonJS',
  wasm: 'CompiledWasm',
  text: 'Text',
  data: 'Data',
  // miniflare has no JSON modules; the text is turned into a module that exports its value.
  json: 'ESModule',
};

export interface NamedModule {
  readonly name: string;
  readonly type: ModuleType;
  readonly content: Uint8Array;
}

/** First listed wins where two layers hold the same module. */
export async function fetchLayers(api: ControlApi, project: Project): Promise<BundledModule[]> {
  const byName = new Map<string, BundledModule>();
  for (const { name, version } of project.config.layers) {
    const path = api.path(`/layers/${name}/versions/${version}`);
    const view = await api.call(path, layerVersionViewSchema);
    for (const module of view.modules) {
      const mounted = `${LAYER_MOUNT}${module.name}`;
      if (byName.has(mounted)) continue;
      const content = new Uint8Array(
        await api.bytes(`${path}/modules/${module.name.split('/').map(encodeURIComponent).join('/')}`),
      );
      byName.set(mounted, { name: mounted, type: module.type, content });
    }
  }
  return [...byName.values()];
}

export function miniflareModules(
  entry: EntryModules,
  project: Project,
  main: string,
  modules: readonly NamedModule[],
): ModuleDefinition[] {
  const own = entry.of({
    style: project.config.style,
    main,
    hooks: project.config.hooks,
    entrypoints: project.config.entrypoints,
    functionName: project.name,
    functionVersion: 0,
  });
  return [...own, ...modules].map(({ name, type, content }) => ({
    type: MINIFLARE_TYPE[type],
    // miniflare names a module by its path below `modulesRoot`, which is `/` here.
    path: `/${name}`,
    contents:
      type === 'json' ? `export default ${new TextDecoder().decode(content)};` : new Uint8Array(content),
  }));
}
