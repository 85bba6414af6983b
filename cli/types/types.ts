/** The types of `env` and of layers, as text. Pure. */
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';

export interface TypeSources {
  readonly config: FunctionConfig;
  /** Service-worker format: what is bound is global. */
  readonly isScript: boolean;
  /** Names of .dev.vars or .env; values are not looked at. */
  readonly values: readonly string[];
  /** Function name → specifier of its entry file, where it is at hand. */
  readonly functions: ReadonlyMap<string, string>;
  readonly layers: readonly LayerModule[];
}

export interface LayerModule {
  /** `/opt/greeting.js` */
  readonly specifier: string;
  readonly exports: readonly string[];
  /** Its source, where that is at hand: then its types are known. */
  readonly source: string | undefined;
}

const NOTICE =
  '// Written by `isoplane types` from the configuration. Run it again after a change; `isoplane types --check` says whether.';
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;
const VARIABLE = /^[A-Za-z_]\w{0,127}$/;

export function typesText(sources: TypeSources): string {
  const members = [...membersOf(sources)].toSorted(([left], [right]) => (left < right ? -1 : 1));
  return [
    NOTICE,
    '',
    'declare namespace Cloudflare {',
    ...(members.length === 0
      ? ['  interface Env {}']
      : ['  interface Env {', ...members.map(([name, type]) => `    readonly ${name}: ${type};`), '  }']),
    '}',
    'interface Env extends Cloudflare.Env {}',
    ...(sources.isScript ? members.map(([name, type]) => `declare const ${name}: ${type};`) : []),
    ...sources.layers.flatMap(layerText),
    '',
  ].join('\n');
}

function membersOf({ config, values, functions }: TypeSources): Map<string, string> {
  const members = new Map<string, string>();
  for (const name of values) if (VARIABLE.test(name)) members.set(name, 'string');
  for (const [name, value] of Object.entries(config.vars)) members.set(name, typeOf(value));
  for (const { binding } of config.secrets.map(bindingOfSecret)) members.set(binding, 'string');
  for (const { binding } of config.kv) members.set(binding, 'KVNamespace');
  if (config.assets?.binding !== undefined) members.set(config.assets.binding, 'Fetcher');
  for (const { binding } of config.rateLimits) members.set(binding, 'RateLimit');
  if (config.versionMetadata !== undefined)
    members.set(config.versionMetadata.binding, 'WorkerVersionMetadata');
  for (const { binding, function: name, entrypoint } of config.services) {
    const file = functions.get(name);
    members.set(
      binding,
      file === undefined ? 'Fetcher' : `Service<typeof import(${quoted(file)}).${entrypoint ?? 'default'}>`,
    );
  }
  return members;
}

const quoted = (text: string): string => `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`;

/** Of a value of the configuration; literals would refuse the value that another deployment has. */
function typeOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) {
    const kinds = [...new Set(value.map(typeOf))];
    return kinds.length === 0 ? 'readonly unknown[]' : `readonly (${kinds.join(' | ')})[]`;
  }
  if (typeof value !== 'object') return typeof value;
  const fields = Object.entries(value).map(
    ([name, field]) => `readonly ${IDENTIFIER.test(name) ? name : quoted(name)}: ${typeOf(field)}`,
  );
  return fields.length === 0 ? 'Readonly<Record<string, unknown>>' : `{ ${fields.join('; ')} }`;
}

function layerText({ specifier, exports, source }: LayerModule): readonly string[] {
  return [
    '',
    // The compiler takes a name that begins with a slash for a path, unless a pattern declares it.
    `declare module ${quoted(`*${specifier}`)} {`,
    ...exports.flatMap((name) => {
      const type = source === undefined ? 'any' : `typeof import(${quoted(source)}).${name}`;
      if (name !== 'default') return [`  export const ${name}: ${type};`];
      return [`  const value: ${type};`, '  export default value;'];
    }),
    '}',
  ];
}
