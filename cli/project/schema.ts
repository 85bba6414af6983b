/** isoplane.jsonc: the version's configuration plus what only the CLI needs. */
import { z } from 'zod';
import { assetsConfigSchema } from '#shared/contracts/assets.ts';
import { functionConfigSchema } from '#shared/contracts/config.ts';
import { functionNameSchema } from '#shared/ids.ts';
import { RULE_TYPES } from './project.ts';

const ruleSchema = z.strictObject({
  /** What the matching files become: a module of that type. */
  type: z.enum(RULE_TYPES),
  /** Relative to the project, like `pages/*.html`. */
  globs: z.array(z.string().min(1)).min(1).max(100),
});

export const projectFileSchema = functionConfigSchema.extend({
  /**
   * JSON schema of this file, for editors.
   *
   * @example "./node_modules/isoplane/isoplane.schema.json"
   */
  $schema: z.string().optional(),
  /**
   * Name of the function: part of its address.
   *
   * @example "hello"
   */
  name: functionNameSchema,
  /**
   * Entry file, relative to the configuration file. Absent: static assets alone.
   *
   * @example "src/index.ts"
   */
  main: z.string().min(1).optional(),
  /**
   * Files that are served beside the code, or without any: `directory`, relative to the configuration file, holds
   * them; the rest says how they are served.
   *
   * @example { "directory": "public", "notFoundHandling": "404-page" }
   */
  assets: assetsConfigSchema
    .extend({
      /**
       * Folder of the files, relative to the configuration file.
       *
       * @example "public"
       */
      directory: z.string().min(1),
    })
    .optional(),
  /**
   * Which imported files become modules of their own; these come before the built-in rules.
   *
   * @example [{ "type": "Text", "globs": ["pages/*.html"] }]
   */
  rules: z.array(ruleSchema).max(50).default([]),
  /**
   * Another specifier, or a file relative to the project, for one that is imported.
   *
   * @example { "node-fetch": "./src/fetch.ts" }
   */
  alias: z.record(z.string().min(1), z.string().min(1)).default({}),
  /**
   * JavaScript text that takes the place of an expression.
   *
   * @example { "BUILD": "\"2026-11-01\"" }
   */
  define: z.record(z.string().min(1), z.string()).default({}),
  /**
   * Upload the entry file and the files that `rules` name as they are: another tool has bundled them.
   *
   * @example true
   */
  noBundle: z.boolean().default(false),
  /**
   * Upload the files that `rules` name although no import names them plainly: for `import()` of a computed name.
   *
   * @example true
   */
  findAdditionalModules: z.boolean().default(false),
  /**
   * Folder that the names of such modules are relative to. Default: the folder of the entry file.
   *
   * @example "dist"
   */
  baseDir: z.string().min(1).optional(),
  /**
   * Minify the code, as with `--minify`.
   *
   * @example true
   */
  minify: z.boolean().default(false),
  /**
   * tsconfig.json that the bundler reads. Default: the nearest one.
   *
   * @example "tsconfig.worker.json"
   */
  tsconfig: z.string().min(1).optional(),
  /**
   * Function that JSX elements become calls of. Default: as tsconfig.json says, else `React.createElement`.
   *
   * @example "h"
   */
  jsxFactory: z.string().min(1).optional(),
  /**
   * Value that JSX fragments become.
   *
   * @example "Fragment"
   */
  jsxFragment: z.string().min(1).optional(),
  /**
   * Command that a shell runs first, and its folder, relative to the configuration file. What it leaves is read after
   * it: the entry file, the folder of `assets`, a configuration that a framework makes. Under `--env NAME` it finds
   * the name in CLOUDFLARE_ENV.
   *
   * @example { "command": "npm run build" }
   */
  build: z
    .strictObject({
      /**
       * The command.
       *
       * @example "npm run build"
       */
      command: z.string().min(1),
      /** Where it runs. Default: the project's folder. */
      cwd: z.string().min(1).optional(),
      /**
       * Files and folders; `isoplane dev` runs the command again when something in them changes.
       *
       * @example ["app", "content"]
       */
      watch: z.array(z.string().min(1)).max(50).default(['src']),
    })
    .optional(),
});
