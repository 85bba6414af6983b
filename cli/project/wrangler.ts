/**
 * The common subset of wrangler.toml and wrangler.jsonc: name, main, compatibility_date,
 * compatibility_flags, vars, rules, services, kv_namespaces. Anything else is not silently dropped: a warning lists it.
 */
import { z } from 'zod';
import { kvNamespaceNameSchema } from '#shared/ids.ts';
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
const READ = [
  'name',
  'main',
  'compatibility_date',
  'compatibility_flags',
  'vars',
  'rules',
  'services',
  'kv_namespaces',
] as const;

const wranglerSchema = z.looseObject({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()).optional(),
  vars: z.record(z.string(), z.json()).optional(),
  rules: z.array(z.looseObject({ type: z.string(), globs: z.array(z.string()) })).optional(),
  services: z
    .array(z.looseObject({ binding: z.string(), service: z.string(), entrypoint: z.string().optional() }))
    .optional(),
  kv_namespaces: z.array(z.looseObject({ binding: z.string(), id: z.string().optional() })).optional(),
});

export interface Translated {
  /** In the form of isoplane.jsonc, not yet checked against its schema. */
  readonly value: Record<string, unknown>;
  readonly warnings: readonly string[];
}

/** An id of Cloudflare's is 32 hexadecimal digits and names nothing here; a name of ours may stand in its place. */
function namespacesOf(
  bound: readonly { readonly binding: string; readonly id?: string | undefined }[],
  warn: (text: string) => void,
): { readonly binding: string; readonly namespace: string }[] {
  return bound.flatMap(({ binding, id }) => {
    if (id !== undefined && !/^[0-9a-f]{32}$/.test(id) && kvNamespaceNameSchema.safeParse(id).success)
      return [{ binding, namespace: id }];
    warn(`ignored KV binding ${binding}: write the name of a KV namespace of this platform as its id`);
    return [];
  });
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
        services: (wrangler.services ?? []).map(({ binding, service, entrypoint }) => ({
          binding,
          function: service,
          ...(entrypoint === undefined ? {} : { entrypoint }),
        })),
        kv: namespacesOf(wrangler.kv_namespaces ?? [], (text) => warnings.push(`${fileName}: ${text}`)),
      },
    },
  };
}
