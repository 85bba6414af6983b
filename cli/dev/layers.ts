/**
 * Layers of a session: folders that were named, or versions of the platform that the user deploys to, which are
 * kept so that the next session needs no platform. In the session's own platform they have numbers of their own.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { layerVersionViewSchema } from '#shared/contracts/api.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { moduleTypeSchema } from '#shared/contracts/modules.ts';
import type { BundledModule } from '../bundle/modules.ts';
import { readLayerFolder } from '../bundle/layer-folder.ts';
import type { ControlApi } from '../client/api.ts';
import { uploadLayer } from '../client/layers.ts';
import { makeStateFolder } from '../project/state-folder.ts';
import { CliError } from '../failure.ts';

type LayerRef = FunctionConfig['layers'][number];

export interface LayerSources {
  /** Layer name → folder of its modules. */
  readonly folders: ReadonlyMap<string, string>;
  /** Where fetched layers are kept. */
  readonly cacheDir: string;
  /** The platform that the user deploys to. */
  readonly remote: () => Promise<ControlApi>;
}

const keptSchema = z.array(z.object({ name: z.string(), type: moduleTypeSchema, base64: z.string() }));

export async function publishLayers(
  api: ControlApi,
  layers: readonly LayerRef[],
  sources: LayerSources,
): Promise<FunctionConfig['layers']> {
  const published: LayerRef[] = [];
  for (const ref of layers) {
    const { number } = await uploadLayer(api, ref.name, await modulesOf(ref, sources));
    published.push({ name: ref.name, version: number });
  }
  return published;
}

export async function modulesOf(
  { name, version }: LayerRef,
  { folders, cacheDir, remote }: LayerSources,
): Promise<readonly BundledModule[]> {
  const folder = folders.get(name);
  if (folder !== undefined) return readLayerFolder(folder);
  // A version never changes, so what was fetched once is right.
  const keptPath = join(cacheDir, `${name}@${version}.json`);
  const kept = await readKept(keptPath);
  if (kept !== undefined) return kept;
  const modules = await fetchLayer(await remoteFor(name, remote), name, version);
  await makeStateFolder(dirname(keptPath));
  const text = modules.map((module) => ({
    name: module.name,
    type: module.type,
    base64: Buffer.from(module.content).toString('base64'),
  }));
  await writeFile(keptPath, JSON.stringify(text), { mode: 0o600 });
  return modules;
}

async function readKept(path: string): Promise<readonly BundledModule[] | undefined> {
  try {
    const kept = keptSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    return kept.map(({ name, type, base64 }) => ({
      name,
      type,
      content: new Uint8Array(Buffer.from(base64, 'base64')),
    }));
  } catch {
    return undefined;
  }
}

async function remoteFor(name: string, remote: LayerSources['remote']): Promise<ControlApi> {
  try {
    return await remote();
  } catch (thrown) {
    throw new CliError('layer_not_found', `The layer ${name} is neither here nor can it be fetched.`, {
      advice: `Start the platform that holds it, or name a folder: --layer ${name}=FOLDER`,
      cause: thrown,
    });
  }
}

async function fetchLayer(api: ControlApi, name: string, version: number): Promise<BundledModule[]> {
  const path = api.path(`/layers/${name}/versions/${version}`);
  const view = await api.call(path, layerVersionViewSchema);
  return Promise.all(
    view.modules.map(async (module) => ({
      name: module.name,
      type: module.type,
      content: new Uint8Array(
        await api.bytes(`${path}/modules/${module.name.split('/').map(encodeURIComponent).join('/')}`),
      ),
    })),
  );
}
