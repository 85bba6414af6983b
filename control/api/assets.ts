/** Files of static assets: which are missing, and their upload. What serves them is a version. */
import { z } from 'zod';
import { missingAssetsReplySchema, missingAssetsSchema } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { knownAssets, recordAssets } from '../db/assets.ts';
import type { UploadedBlob } from '../publish/upload.ts';
import type { ApiDeps } from './deps.ts';
import { inFunction, noQuery, type AddOperation } from './operation.ts';

const F = '/v1/accounts/{account}/functions/{function}';

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

export function addAssets(add: AddOperation, deps: ApiDeps): void {
  add(
    {
      id: 'missingAssets',
      method: 'post',
      path: `${F}/assets/missing`,
      summary: 'Tells which files of static assets the account has not uploaded yet.',
      access: 'deploy',
      params: inFunction,
      query: noQuery,
      body: missingAssetsSchema,
      replies: { 200: missingAssetsReplySchema },
    },
    async ({ params, body }) => {
      const { account } = params;
      const digests = [...new Set(body.files.map(({ digest }) => digest))];
      const known = await deps.db.read((orm) => knownAssets(orm, account, digests));
      const held = [...known].map(([digest, bytes]) => ({ digest, bytes }));
      // They are about to be used: they must not be taken for leftovers.
      if (held.length > 0) await deps.db.write((tx) => recordAssets(tx, account, held));
      return { status: 200, body: { missing: digests.filter((digest) => !known.has(digest)) } };
    },
  );
  add(
    {
      id: 'uploadAssets',
      method: 'post',
      path: `${F}/assets`,
      summary:
        'Uploads files of static assets as parts `asset:DIGEST`. They are served once a version lists them.',
      access: 'deploy',
      params: inFunction,
      query: noQuery,
      upload: z.strictObject({}),
      replies: { 204: 'empty' },
    },
    async ({ params, upload, signal }) => {
      const { account } = params;
      await using uploaded = await upload();
      const { files } = uploaded;
      checkFiles(files);
      await deps.trials.run(account, signal, () => deps.assets.put(account, files));
      return { status: 204 };
    },
  );
}
