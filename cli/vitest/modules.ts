/** Modules of a function as miniflare wants them. */
import type { Miniflare } from 'miniflare';
import type { ModuleType } from '#shared/contracts/modules.ts';

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

export function miniflareModules(modules: readonly NamedModule[]): ModuleDefinition[] {
  return modules.map(({ name, type, content }) => ({
    type: MINIFLARE_TYPE[type],
    // miniflare names a module by its path below `modulesRoot`, which is `/` here.
    path: `/${name}`,
    contents:
      type === 'json' ? `export default ${new TextDecoder().decode(content)};` : new Uint8Array(content),
  }));
}
