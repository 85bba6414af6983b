/** Uploads the files that the account does not have yet: what did not change is not sent again. */
import { readFile } from 'node:fs/promises';
import { missingAssetsReplySchema } from '#shared/contracts/api.ts';
import type { AssetsUpload } from '#shared/contracts/assets.ts';
import { LIMITS } from '#shared/limits.ts';
import type { ControlApi } from '../client/api.ts';
import type { Project } from '../project/project.ts';
import { collectAssets, type CollectedAssets, type LocalAsset } from './collect.ts';

export interface UploadedAssets {
  readonly files: number;
  readonly bytes: number;
}

const UPLOADS_AT_ONCE = 3;
/** Few enough that several are under way, and that one can see how far it is. */
const FILES_PER_UPLOAD_MAX = Math.min(200, LIMITS.assetsPerUploadMax);
/** Room for what frames the parts. */
const UPLOAD_BYTES_MAX = LIMITS.assetUploadBytesMax - 1024 * 1024;

export function listOf({ files, headers, redirects }: CollectedAssets): AssetsUpload {
  return {
    files: files.map(({ path, digest, bytes }) => ({ path, digest, bytes })),
    ...(headers === undefined ? {} : { headers }),
    ...(redirects === undefined ? {} : { redirects }),
  };
}

async function missingOf(api: ControlApi, name: string, files: readonly LocalAsset[]): Promise<Set<string>> {
  const missing = new Set<string>();
  for (let from = 0; from < files.length; from += LIMITS.assetsPerCheckMax) {
    const part = files.slice(from, from + LIMITS.assetsPerCheckMax);
    const reply = await api.call(api.path(`/functions/${name}/assets/missing`), missingAssetsReplySchema, {
      method: 'POST',
      json: { files: part.map(({ digest, bytes }) => ({ digest, bytes })) },
    });
    for (const digest of reply.missing) missing.add(digest);
  }
  return missing;
}

/** Each as large as one upload may be. */
function bundlesOf(files: readonly LocalAsset[]): readonly (readonly LocalAsset[])[] {
  const bundles: LocalAsset[][] = [];
  let bytes = 0;
  for (const file of files) {
    const open = bundles.at(-1);
    if (open === undefined || open.length >= FILES_PER_UPLOAD_MAX || bytes + file.bytes > UPLOAD_BYTES_MAX) {
      bundles.push([file]);
      bytes = file.bytes;
    } else {
      open.push(file);
      bytes += file.bytes;
    }
  }
  return bundles;
}

export async function uploadAssets(
  api: ControlApi,
  name: string,
  { files }: CollectedAssets,
  onProgress: (sent: number, of: number) => void = () => undefined,
): Promise<UploadedAssets> {
  const distinct = [...new Map(files.map((file) => [file.digest, file])).values()];
  const missing = await missingOf(api, name, distinct);
  const wanted = distinct.filter(({ digest }) => missing.has(digest));
  const bundles = [...bundlesOf(wanted)];
  let sent = 0;
  const worker = async (): Promise<void> => {
    for (let bundle = bundles.shift(); bundle !== undefined; bundle = bundles.shift()) {
      const form = new FormData();
      form.set('metadata', '{}');
      for (const { digest, source } of bundle)
        form.set(`asset:${digest}`, new Blob([await readFile(source)]), digest);
      await api.send(api.path(`/functions/${name}/assets`), { method: 'POST', form });
      sent += bundle.length;
      onProgress(sent, wanted.length);
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
  return { files: wanted.length, bytes: wanted.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Reads and uploads what the project has; undefined: it has no static assets. */
export async function prepareAssets(api: ControlApi, project: Project): Promise<CollectedAssets | undefined> {
  const { assetsFolder, config, name } = project;
  if (assetsFolder === undefined || config.assets === undefined) return undefined;
  const collected = await collectAssets(assetsFolder, config.assets);
  await uploadAssets(api, name, collected);
  return collected;
}
