/**
 * The common subset of wrangler.toml and wrangler.jsonc: name, main, compatibility_date,
 * compatibility_flags, vars, rules. Anything else is not silently dropped: a warning lists it.
 */
import { z } from 'zod';
import { RULE_TYPES } from './project.ts';

/** Keys that mean nothing to the platform and deserve no warning. */
const HARMLESS = new Set([
  '$schema',
  'account_id',
  'send_metrics',
  'workers_dev',
  'no_bundle',
  'minify',
  'upload_source_maps',
  'keep_names',
]);
const READ = ['name', 'main', 'compatibility_date', 'compatibility_flags', 'vars', 'rules'] as const;

const wranglerSchema = z.looseObject({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()).optional(),
  vars: z.record(z.string(), z.json()).optional(),
  rules: z.array(z.looseObject({ type: z.string(), globs: z.array(z.string()) })).optional(),
});

export interface Translated {
  /** In the form of isoplane.jsonc, not yet checked against its schema. */
  readonly value: Record<string, unknown>;
  readonly warnings: readonly string[];
}

export function translateWrangler(
  content: unknown,
  fileName: string,
): { ok: true; translated: Translated } | { ok: false; error: z.ZodError } {
  const parsed = wranglerSchema.safeParse(content);
  if (!parsed.success) return { ok: false, error: parsed.error };
  const wrangler = parsed.data;
  const warnings: string[] = [];
  const ignored = Object.keys(wrangler).filter(
    (key) => !HARMLESS.has(key) && !(READ as readonly string[]).includes(key),
  );
  if (ignored.length > 0) {
    warnings.push(
      `${fileName}: ignored ${ignored.join(', ')} (read are ${READ.join(', ')}; limits, auth and layers need isoplane.jsonc)`,
    );
  }
  const rules = (wrangler.rules ?? []).filter((rule) => {
    const known = (RULE_TYPES as readonly string[]).includes(rule.type);
    if (!known)
      warnings.push(
        `${fileName}: ignored a rule of type ${rule.type} (JavaScript modules are bundled, so they need none)`,
      );
    return known;
  });
  return {
    ok: true,
    translated: {
      warnings,
      value: {
        name: wrangler.name,
        main: wrangler.main,
        compatibilityDate: wrangler.compatibility_date,
        compatibilityFlags: wrangler.compatibility_flags ?? [],
        vars: wrangler.vars ?? {},
        rules: rules.map(({ type, globs }) => ({ type, globs })),
      },
    },
  };
}
