/** isoplane.jsonc: the version's configuration plus what only the CLI needs. */
import { z } from 'zod';
import { functionConfigSchema } from '#shared/contracts/config.ts';
import { functionNameSchema } from '#shared/ids.ts';
import { RULE_TYPES } from './project.ts';

const ruleSchema = z.strictObject({
  type: z.enum(RULE_TYPES),
  globs: z.array(z.string().min(1)).min(1).max(100),
});

export const projectFileSchema = functionConfigSchema.extend({
  /** For editors. */
  $schema: z.string().optional(),
  /** Name of the function: part of its address. */
  name: functionNameSchema,
  /** Entry file, relative to the configuration file. */
  main: z.string().min(1),
  /** Which imported files become modules of their own; these come before the built-in rules. */
  rules: z.array(ruleSchema).max(50).default([]),
});
