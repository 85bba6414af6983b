/** Which members of `env` a configuration gives. Variables, bindings and secrets share their names. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { PUBLISHED_KINDS, type EnvName } from './bindings.ts';

/** Beside secrets. */
export function envNames(config: FunctionConfig): readonly EnvName[] {
  return [
    ...Object.keys(config.vars).map((name) => ({ path: `config.vars.${name}`, name })),
    ...PUBLISHED_KINDS.flatMap((kind) => kind.names(config)),
    ...(config.versionMetadata === undefined
      ? []
      : [{ path: 'config.versionMetadata.binding', name: config.versionMetadata.binding }]),
  ];
}
