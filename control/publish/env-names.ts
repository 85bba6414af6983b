/** Which members of `env` a configuration gives. Variables, bindings and secrets share their names. */
import type { FunctionConfig } from '#shared/contracts/config.ts';

export interface EnvName {
  /** Where in the configuration it is given. */
  readonly path: string;
  readonly name: string;
}

/** Beside secrets. A new kind of binding adds its row here. */
export function envNames(
  config: Pick<FunctionConfig, 'vars' | 'services' | 'kv' | 'assets' | 'versionMetadata' | 'rateLimits'>,
): readonly EnvName[] {
  return [
    ...Object.keys(config.vars).map((name) => ({ path: `config.vars.${name}`, name })),
    ...config.services.map(({ binding }, index) => ({
      path: `config.services.${index}.binding`,
      name: binding,
    })),
    ...config.kv.map(({ binding }, index) => ({ path: `config.kv.${index}.binding`, name: binding })),
    ...(config.assets?.binding === undefined
      ? []
      : [{ path: 'config.assets.binding', name: config.assets.binding }]),
    ...config.rateLimits.map(({ binding }, index) => ({
      path: `config.rateLimits.${index}.binding`,
      name: binding,
    })),
    ...(config.versionMetadata === undefined
      ? []
      : [{ path: 'config.versionMetadata.binding', name: config.versionMetadata.binding }]),
  ];
}
