/** Uploads the modules of a layer. */
import { layerVersionViewSchema, type LayerMetadata, type LayerVersionView } from '#shared/contracts/api.ts';
import type { LayerName } from '#shared/ids.ts';
import type { BundledModule } from '../bundle/modules.ts';
import type { ControlApi } from './api.ts';

/** Content that was published before is that version again. */
export function uploadLayer(
  api: ControlApi,
  layer: LayerName,
  modules: readonly BundledModule[],
  message?: string,
): Promise<LayerVersionView & { readonly created?: boolean | undefined }> {
  const metadata: LayerMetadata = {
    modules: modules.map(({ name, type }) => ({ name, type })),
    ...(message === undefined ? {} : { message }),
  };
  const form = new FormData();
  form.set('metadata', new Blob([JSON.stringify(metadata)], { type: 'application/json' }), 'metadata.json');
  for (const module of modules) form.set(`module:${module.name}`, new Blob([module.content]), module.name);
  const path = api.path(`/layers/${layer}/versions`);
  return api.call(path, layerVersionViewSchema, { method: 'POST', form });
}
