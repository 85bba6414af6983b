/** The assets of a publish: read from the upload, and held against what the account has. */
import type { PublishMetadata } from '#shared/contracts/api.ts';
import { assetsUploadSchema, type AssetFile } from '#shared/contracts/assets.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import { sha256 } from '../blobs/store.ts';
import { knownAssets } from '../db/assets.ts';
import type { Orm } from '../db/database.ts';
import type { VersionAssets } from '../db/schema.ts';
import type { Upload } from '../publish/upload.ts';
import { parseOrRefuse } from '../validation.ts';
import { planAssets } from './plan.ts';
import type { AssetBlob } from './store.ts';

export interface ReadAssets {
  readonly files: readonly AssetFile[];
  /** The manifest. */
  readonly blob: AssetBlob;
  readonly version: VersionAssets;
}

const MISSING_TOLD_MAX = 100;

/** Undefined: the version has none. @throws {PlatformError} */
export function readAssets(upload: Upload, { config }: PublishMetadata): ReadAssets | undefined {
  if ((upload.assets === undefined) !== (config.assets === undefined))
    throw new PlatformError('config_invalid', 'assets without their configuration, or the other way round', {
      publicDetail: 'A part `assets` and `config.assets` come together.',
    });
  if (config.assets === undefined) return undefined;
  const listed = parseOrRefuse(assetsUploadSchema, upload.assets, 'config_invalid');
  const { manifest, files, bytes } = planAssets(listed, config.assets);
  const digest = sha256(manifest);
  const manifestBytes = manifest.byteLength;
  return {
    files: listed.files,
    blob: { digest, bytes: manifestBytes, read: () => Promise.resolve(manifest) },
    version: { manifest: digest, manifestBytes, files, bytes },
  };
}

/** @throws {PlatformError} `asset_missing` for what the account has not uploaded, or with another size. */
export async function requireAssets(
  orm: Orm,
  { account }: { readonly account: AccountName },
  files: readonly AssetFile[],
): Promise<void> {
  const known = await knownAssets(orm, account, [...new Set(files.map(({ digest }) => digest))]);
  const missing = files.filter(({ digest, bytes }) => known.get(digest) !== bytes);
  const [first] = missing;
  if (first === undefined) return;
  throw new PlatformError('asset_missing', `${missing.length} assets are missing`, {
    publicDetail: `${missing.length} files are missing, the first is ${first.path}.`,
    extensions: { missing: missing.slice(0, MISSING_TOLD_MAX).map(({ digest }) => digest) },
  });
}
