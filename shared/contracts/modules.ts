/**
 * Modules of a version: names, types and where layers are mounted.
 *
 * Layer modules live under `opt/`. Sources write `import x from '/opt/greet.js'`; the CLI makes that
 * `./opt/greet.js`, which every module registry of workerd resolves from a main module at the root.
 * `opt/` and `isoplane/` are therefore reserved: a function's
 * own modules cannot shadow a layer or the platform's entry module.
 */
import { z } from 'zod';
import { digestSchema } from '../ids.ts';
import { LIMITS } from '../limits.ts';

const MODULE_TYPES = ['esm', 'commonjs', 'wasm', 'text', 'data', 'json'] as const;
export type ModuleType = (typeof MODULE_TYPES)[number];

export const LAYER_MOUNT = 'opt/';
const RESERVED_PREFIXES = [LAYER_MOUNT, 'isoplane/', 'node:', 'cloudflare:', 'workerd:'];
const SEGMENT = /^[A-Za-z0-9_@$+[(~=-][A-Za-z0-9_@$+. ()[\]~=,-]*$/;

/** The reason a module name is refused, or undefined. Layer modules are checked before `opt/` is put in front. */
export function moduleNameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty';
  if (new TextEncoder().encode(name).byteLength > LIMITS.moduleNameBytesMax)
    return `is longer than ${LIMITS.moduleNameBytesMax} bytes`;
  if (RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix)))
    return 'starts with a reserved prefix (opt/, isoplane/, node:, cloudflare:, workerd:)';
  if (!name.split('/').every((segment) => SEGMENT.test(segment)))
    return 'may hold only plain path segments: no leading slash, no empty or dot segments, no backslash or control characters';
  return undefined;
}

export const moduleTypeSchema = z.enum(MODULE_TYPES);

export const moduleRefSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(LIMITS.moduleNameBytesMax + LAYER_MOUNT.length),
  type: moduleTypeSchema,
  digest: digestSchema,
  bytes: z.number().int().min(0),
});
export type ModuleRef = z.infer<typeof moduleRefSchema>;
