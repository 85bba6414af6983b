/** What a started module exports beside its handler, and what follows from it. Pure. */
import { entrypointNameSchema } from '#shared/contracts/bindings.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { CheckReply } from '#shared/contracts/nodes.ts';
import { LIMITS } from '#shared/limits.ts';

type ModuleExports = NonNullable<Extract<CheckReply, { ok: true }>['exports']>;

/** As in Workers: what is exported can be bound to by name, whether the configuration lists it or not. */
export function withEntrypoints<T extends { readonly config: Pick<FunctionConfig, 'entrypoints'> }>(
  content: T,
  exports: ModuleExports | undefined,
): T {
  const { entrypoints: listed } = content.config;
  const found = (exports?.entrypoints ?? []).flatMap(
    (name) => entrypointNameSchema.safeParse(name).data ?? [],
  );
  const entrypoints = [...new Set([...listed, ...found])].slice(
    0,
    Math.max(listed.length, LIMITS.bindingsMax),
  );
  return { ...content, config: { ...content.config, entrypoints } };
}

/** Handlers that nothing calls: without a word they would be taken for working. */
export function exportWarnings(exports: ModuleExports | undefined): readonly string[] {
  return (exports?.handlers ?? []).map(
    (name) => `\`${name}\` is exported, but nothing on this platform calls it: only \`fetch\` and RPC are.`,
  );
}
