/**
 * Static assets of a version: how its files are served beside its code.
 *
 * Names and meanings are those of Workers: https://developers.cloudflare.com/workers/static-assets/. The files
 * themselves travel by digest (contracts/api.ts); what a version serves is one manifest, a blob of its own
 * (assets/manifest.ts), so a version and its rollback never change.
 */
import { z } from 'zod';
import { digestSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { bindingNameSchema } from './bindings.ts';

const HTML_HANDLINGS = [
  'auto-trailing-slash',
  'force-trailing-slash',
  'drop-trailing-slash',
  'none',
] as const;
const NOT_FOUND_HANDLINGS = ['none', '404-page', 'single-page-application'] as const;

/** `/api/*`, or `!/api/docs/*` for what assets answer all the same. */
const workerFirstPattern = z
  .string()
  .max(LIMITS.assetPatternBytesMax)
  .regex(/^!?\/[\x21-\x7e]*$/, 'a pattern begins with / or !/ and holds no spaces');

export const assetsConfigSchema = z.strictObject({
  /** `env.NAME.fetch(request)` answers from the files. */
  binding: bindingNameSchema.optional(),
  /** Which of `/about`, `/about/` and `/about.html` serves about.html, and which ones redirect to it. */
  htmlHandling: z.enum(HTML_HANDLINGS).default('auto-trailing-slash'),
  /**
   * What answers where no file is: the nearest 404.html, /index.html with 200, or the code. Beside code that has no paths
   * in `runWorkerFirst` the first two answer only what a browser opens (`sec-fetch-mode: navigate`); the rest, such as
   * `fetch()` of a page or curl, is the code's.
   */
  notFoundHandling: z.enum(NOT_FOUND_HANDLINGS).default('none'),
  /** The code answers first: everywhere, or at these paths. */
  runWorkerFirst: z
    .union([
      z.boolean(),
      z
        .array(workerFirstPattern)
        .min(1)
        .max(LIMITS.assetPatternsMax)
        .refine(
          (patterns) => patterns.some((pattern) => !pattern.startsWith('!')),
          'at least one pattern must not begin with !',
        ),
    ])
    .default(false),
  /** Who may read the files: whom the function's `auth` lets in, or `public`: anyone. */
  auth: z.enum(['function', 'public']).default('function'),
});

/** One file, as a client lists it. */
const assetFileSchema = z.strictObject({
  /** Absolute, not percent-encoded: `/images/a b.png`. */
  path: z.string(),
  digest: digestSchema,
  bytes: z.number().int().min(0),
});

/** Part `assets` of a publish. */
export const assetsUploadSchema = z.strictObject({
  files: z.array(assetFileSchema),
  /** Text of `_headers` and `_redirects`. */
  headers: z.string().optional(),
  redirects: z.string().optional(),
});

/** What a gateway or node must know to serve a version's files. */
export const servedAssetsSchema = z.object({
  manifest: digestSchema,
  /** Of the manifest, which is read whole. */
  manifestBytes: z.number().int().min(0),
  config: assetsConfigSchema,
  /** Anyone may read the files, so anyone on the way may keep them. */
  anyone: z.boolean(),
  /** The version has no code: what no file answers is not found. */
  alone: z.boolean(),
  /** `notFoundHandling` comes before the code where a browser navigates (`Sec-Fetch-Mode: navigate`). */
  navigationFirst: z.boolean(),
});

export type AssetsConfig = z.infer<typeof assetsConfigSchema>;
export type AssetFile = z.infer<typeof assetFileSchema>;
export type AssetsUpload = z.infer<typeof assetsUploadSchema>;
export type ServedAssets = z.infer<typeof servedAssetsSchema>;
