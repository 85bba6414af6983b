/** Files of static assets: which are missing, and their upload. What serves them is a version. */
import { z } from 'zod';
import { missingAssetsReplySchema, missingAssetsSchema } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { knownAssets, recordAssets } from '../db/assets.ts';
import type { UploadedBlob } from '../publish/upload.ts';
import { FUNCTION_PATH, inFunction, noQuery, route, type Route } from './operation.ts';

function checkFiles(files: readonly UploadedBlob[]): void {
  if (files.length > LIMITS.assetsPerUploadMax)
    throw new PlatformError('assets_too_large', `${files.length} files`, {
      publicDetail: `One upload may carry at most ${LIMITS.assetsPerUploadMax} files.`,
    });
  for (const { name, digest, bytes } of files) {
    if (bytes > LIMITS.assetBytesMax)
      throw new PlatformError('assets_too_large', `a file of ${bytes} bytes`, {
        publicDetail: `A file may have at most ${LIMITS.assetBytesMax} bytes.`,
      });
    if (name !== digest)
      throw new PlatformError('config_invalid', 'a part is named after another digest', {
        publicDetail: `The part asset:${name.slice(0, 64)} holds bytes of digest ${digest}.`,
      });
  }
}

export const assets: readonly Route[] = [
  route(
    {
      id: 'missingAssets',
      method: 'post',
      path: `${FUNCTION_PATH}/assets/missing`,
      summary: 'Tells which files of static assets the account has not uploaded yet.',
      access: 'deploy',
      params: inFunction,
      query: noQuery,
      body: missingAssetsSchema,
      replies: { 200: missingAssetsReplySchema },
    },
    async (deps, { params, body }) => {
      const { account } = params;
      const digests = [...new Set(body.files.map(({ digest }) => digest))];
      const known = await deps.db.read((orm) => knownAssets(orm, account, digests));
      const held = [...known].map(([digest, bytes]) => ({ digest, bytes }));
      // They are about to be used: they must not be taken for leftovers.
      if (held.length > 0) await deps.db.write((tx) => recordAssets(tx, account, held));
      return { status: 200, body: { missing: digests.filter((digest) => !known.has(digest)) } };
    },
  ),
  route(
    {
      id: 'uploadAssets',
      method: 'post',
      path: `${FUNCTION_PATH}/assets`,
      summary:
        'Uploads files of static assets as parts `asset:DIGEST`. They are served once a version lists them.',
      access: 'deploy',
      params: inFunction,
      query: noQuery,
      upload: z.strictObject({}),
      replies: { 204: 'empty' },
    },
    async (deps, { params, upload, signal }) => {
      const { account } = params;
      await using uploaded = await upload();
      const { files } = uploaded;
      checkFiles(files);
      await deps.trials.run(account, signal, () => deps.assets.put(account, files));
      return { status: 204 };
    },
  ),
];
