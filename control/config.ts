/** Settings of the control plane, from the environment. */
import { z } from 'zod';
import { nameSchema } from '#shared/ids.ts';
import { libsqlUrlSchema } from '#shared/libsql/url.ts';
import { bucketUrlSchema } from './blobs/url.ts';

export const controlEnvironmentSchema = z.object({
  /** Folder of the database, blobs and keys. */
  ISOPLANE_DATA_DIR: z.string().min(1),
  /** Address of the API. Loopback unless told otherwise: it speaks plain HTTP. */
  ISOPLANE_CONTROL_HOST: z.string().min(1).default('127.0.0.1'),
  /** 0 lets the system choose. */
  ISOPLANE_CONTROL_PORT: z.coerce.number().int().min(0).max(65_535).default(8788),
  /**
   * Further names by which clients call it, as their Host header says them, separated by commas:
   * `control.example.com` behind a TLS terminator. Others are refused.
   */
  ISOPLANE_CONTROL_NAMES: z
    .string()
    .max(10_000)
    .default('')
    .transform((list) =>
      list
        .toLowerCase()
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== ''),
    ),
  /** Node agents to ask, by id, separated by commas. */
  ISOPLANE_NODE_IDS: z
    .string()
    .default('node-1')
    .transform((list) => list.split(',').map((id) => id.trim()))
    .pipe(z.array(nameSchema).min(1).max(100)),
  /** libSQL server of the database, for example http://database.internal:8080. Default: a file in the data folder. */
  ISOPLANE_DATABASE_URL: libsqlUrlSchema.optional(),
  /** What it wants to be told, when it does. */
  ISOPLANE_DATABASE_TOKEN: z.string().min(1).optional(),
  /** File that holds the token. */
  ISOPLANE_DATABASE_TOKEN_FILE: z.string().min(1).optional(),
  /**
   * Bucket for code and files, `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`. Default: folders of the data folder.
   */
  ISOPLANE_BLOBS_URL: bucketUrlSchema.optional(),
  ISOPLANE_BLOBS_ACCESS_KEY_ID: z.string().min(1).optional(),
  ISOPLANE_BLOBS_SECRET_ACCESS_KEY: z.string().min(1).optional(),
  /** File that holds the secret. */
  ISOPLANE_BLOBS_SECRET_ACCESS_KEY_FILE: z.string().min(1).optional(),
  /** Functions answer at FUNCTION.BASE and FUNCTION.ACCOUNT.BASE; routes may not stand in front of them. */
  ISOPLANE_BASE_DOMAIN: z.string().min(1).max(200).toLowerCase().default('localhost'),
});
