/** `isoplane layers`: publish a folder of modules that functions import from `/opt/`. */
import { resolve } from 'node:path';
import { layerVersionViewSchema, layerViewSchema } from '#shared/contracts/api.ts';
import { layerNameSchema, versionNumberSchema } from '#shared/ids.ts';
import { readLayerFolder } from '../bundle/layer-folder.ts';
import { uploadLayer } from '../client/layers.ts';
import type { Context } from '../context.ts';
import { bytesText, whenText } from '../output.ts';
import { table } from '../table.ts';
import { argument } from './arguments.ts';

type Args = readonly string[];

const layerPath = (args: Args): string => `/layers/${argument('layer', args[0], layerNameSchema)}`;
const versionPath = (args: Args): string =>
  `${layerPath(args)}/versions/${argument('version', Number(args[1]), versionNumberSchema)}`;

export async function listLayers(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path('/layers'), layerViewSchema);
  context.output.result(items, () =>
    table(
      ['LAYER', 'LATEST', 'CREATED'],
      items.map((item) => [item.name, String(item.latestVersion), whenText(item.createdAt)]),
    ),
  );
}

export async function layerVersions(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path(`${layerPath(args)}/versions`), layerVersionViewSchema);
  context.output.result(items, () =>
    table(
      ['VERSION', 'DIGEST', 'MODULES', 'CREATED'],
      items.map((item) => [
        String(item.number),
        item.digest.slice(0, 12),
        String(item.modules.length),
        whenText(item.createdAt),
      ]),
    ),
  );
}

export async function showLayer(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  const view = await api.call(api.path(versionPath(args)), layerVersionViewSchema);
  context.output.result(view, () =>
    table(
      ['MODULE', 'TYPE', 'SIZE'],
      view.modules.map((module) => [`/opt/${module.name}`, module.type, bytesText(module.bytes)]),
    ),
  );
}

export async function deleteLayer(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  await api.send(api.path(versionPath(args)), { method: 'DELETE' });
  context.output.result({ deleted: `${args[0]}@${args[1]}` }, () => `deleted ${args[0]} version ${args[1]}`);
}

export async function publishLayer(
  context: Context,
  args: Args,
  options: Record<string, unknown>,
): Promise<void> {
  const { output } = context;
  const layer = argument('layer', args[0], layerNameSchema);
  const modules = await readLayerFolder(resolve(args[1] ?? '.'));
  const bytes = modules.reduce((sum, module) => sum + module.content.byteLength, 0);
  const message = options['message'];
  const { api } = await context.platform();
  const view = await uploadLayer(api, layer, modules, typeof message === 'string' ? message : undefined);
  output.result({ ...view, bytes }, () =>
    [
      view.created === false
        ? `unchanged: this is ${view.layer} version ${view.number}`
        : `published ${view.layer} version ${view.number} (${modules.length} modules, ${bytesText(bytes)})`,
      `use it: "layers": [{ "name": "${view.layer}", "version": ${view.number} }]`,
    ].join('\n'),
  );
}
