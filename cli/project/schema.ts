/** isoplane.jsonc: the version's configuration plus what only the CLI needs. */
import { z } from 'zod';
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
   * Entry file, relative to the configuration file.
   *
   * @example "src/index.ts"
   */
  main: z.string().min(1),
  /**
   * Which imported files become modules of their own; these come before the built-in rules.
   *
   * @example [{ "type": "Text", "globs": ["pages/*.html"] }]
   */
  rules: z.array(ruleSchema).max(50).default([]),
});
