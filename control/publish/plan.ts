/**
 * Decides whether an upload may become a version or a layer version, and what that version is.
 *
 * Pure: digests are computed and layers are looked up before. A refusal is a value; the first kind of
 * problem that applies is answered with every instance of it.
 */
import type { LayerMetadata, PublishMetadata } from '#shared/contracts/api.ts';
import type { ResolvedBinding } from '#shared/contracts/bindings.ts';
import { LAYER_MOUNT, moduleNameProblem, type ModuleRef } from '#shared/contracts/modules.ts';
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { FieldProblem } from '#shared/field-problem.ts';
import type { Digest, LayerName } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { NamedThings } from './bindings.ts';
import { envNames } from './env-names.ts';
import { canonicalJson } from './canonical.ts';
import { compatibilityProblems } from '#shared/compatibility/flags.ts';

export interface UploadedPart {
  readonly name: string;
  readonly digest: Digest;
  readonly bytes: number;
}

export interface ResolvedLayer {
  readonly name: LayerName;
  readonly version: number;
  /** Undefined: there is no such layer version. */
  readonly content: { readonly digest: Digest; readonly modules: readonly ModuleRef[] } | undefined;
}

export interface ModulesPlan {
  readonly modules: readonly ModuleRef[];
  /** Text whose sha-256 is the digest of the content. */
  readonly identity: string;
}

export interface VersionPlan extends ModulesPlan {
  readonly maps: Readonly<Record<string, Digest>>;
  /** Things that were looked up. */
  readonly bindings: readonly ResolvedBinding[];
}

export type Planned<T> =
  | { readonly kind: 'planned'; readonly plan: T }
  | { readonly kind: 'refused'; readonly error: PlatformError };

function refuse(
  code: ErrorCode,
  problems: readonly FieldProblem[],
): { kind: 'refused'; error: PlatformError } {
  const first = problems[0];
  return {
    kind: 'refused',
    error: new PlatformError(code, problems.map(({ path, message }) => `${path}: ${message}`).join('; '), {
      ...(first === undefined ? {} : { publicDetail: `${first.path}: ${first.message}` }),
      extensions: { problems },
    }),
  };
}

function duplicates(names: readonly string[]): readonly number[] {
  const seen = new Set<string>();
  return names.flatMap((name, index) => {
    if (seen.has(name)) return [index];
    seen.add(name);
    return [];
  });
}

/** Declared modules with their uploaded bytes. */
function planModules(
  declared: LayerMetadata['modules'],
  parts: readonly UploadedPart[],
): Planned<readonly ModuleRef[]> {
  if (declared.length > LIMITS.modulesPerVersionMax)
    return refuse('bundle_too_large', [
      { path: 'modules', message: `holds more than ${LIMITS.modulesPerVersionMax} modules` },
    ]);
  const badNames = declared.flatMap(({ name }, index) => {
    const message = moduleNameProblem(name);
    return message === undefined
      ? []
      : [{ path: `modules.${index}.name`, message: `${JSON.stringify(name)} ${message}` }];
  });
  if (badNames.length > 0) return refuse('module_name_invalid', badNames);
  const twice = duplicates(declared.map(({ name }) => name)).map((index) => ({
    path: `modules.${index}.name`,
    message: `${declared[index]?.name} is listed twice`,
  }));
  if (twice.length > 0) return refuse('config_invalid', twice);
  const uploaded = new Map(parts.map((part) => [part.name, part]));
  if (uploaded.size < parts.length)
    return refuse('config_invalid', [
      { path: 'parts', message: 'a module was uploaded twice under the same name' },
    ]);
  const missing = declared.flatMap(({ name }, index) =>
    uploaded.has(name) ? [] : [{ path: `modules.${index}`, message: `no part module:${name} was uploaded` }],
  );
  if (missing.length > 0) return refuse('module_missing', missing);
  const names = new Set(declared.map(({ name }) => name));
  const extra = parts
    .filter(({ name }) => !names.has(name))
    .map(({ name }) => ({ path: 'parts', message: `module:${name} is not listed in the metadata` }));
  if (extra.length > 0) return refuse('config_invalid', extra);
  const modules = declared.flatMap(({ name, type }) => {
    const part = uploaded.get(name);
    return part === undefined ? [] : [{ name, type, digest: part.digest, bytes: part.bytes }];
  });
  return { kind: 'planned', plan: modules };
}

function sizeProblem(modules: readonly ModuleRef[]): FieldProblem | undefined {
  const bytes = modules.reduce((sum, module) => sum + module.bytes, 0);
  if (bytes > LIMITS.bundleBytesMax)
    return {
      path: 'modules',
      message: `${bytes} bytes with layers, at most ${LIMITS.bundleBytesMax} are allowed`,
    };
  if (modules.length > LIMITS.modulesPerVersionMax)
    return {
      path: 'modules',
      message: `${modules.length} modules with layers, at most ${LIMITS.modulesPerVersionMax} are allowed`,
    };
  return undefined;
}

function byName(left: ModuleRef, right: ModuleRef): number {
  return left.name < right.name ? -1 : 1;
}

export function planLayer(metadata: LayerMetadata, parts: readonly UploadedPart[]): Planned<ModulesPlan> {
  const own = planModules(metadata.modules, parts);
  if (own.kind === 'refused') return own;
  const modules = [...own.plan].sort(byName);
  const tooLarge = sizeProblem(modules);
  if (tooLarge !== undefined) return refuse('bundle_too_large', [tooLarge]);
  return { kind: 'planned', plan: { modules, identity: canonicalJson({ form: 'layer.1', modules }) } };
}

/** Layer modules under `opt/`; of two layers with the same module the first listed wins. */
function mountLayers(layers: readonly (readonly ModuleRef[])[]): readonly ModuleRef[] {
  const mounted = new Map<string, ModuleRef>();
  for (const modules of layers)
    for (const module of modules) {
      const name = LAYER_MOUNT + module.name;
      if (!mounted.has(name)) mounted.set(name, { ...module, name });
    }
  return [...mounted.values()];
}

/** Variables and bindings share the names of `env`. */
function bindingsTwice(
  config: PublishMetadata['config'],
  ownSecrets: readonly string[],
): readonly FieldProblem[] {
  const { entrypoints } = config;
  const taken = new Set<string>();
  const own = new Set(ownSecrets);
  const named = [
    ...envNames(config),
    ...config.secrets.map((entry, index) => ({
      path: `config.secrets.${index}`,
      name: bindingOfSecret(entry).binding,
    })),
  ];
  const hidden = envNames(config)
    .filter(({ name }) => own.has(name))
    .map(({ path, name }) => ({
      path,
      message: `the function has a secret ${name}, and env has one member of a name`,
    }));
  return [
    ...hidden,
    ...named.flatMap(({ path, name }) => {
      if (taken.has(name)) return [{ path, message: `the name ${name} is already used in env` }];
      taken.add(name);
      return [];
    }),
    ...duplicates(entrypoints).map((index) => ({
      path: `config.entrypoints.${index}`,
      message: `entrypoint ${entrypoints[index]} is listed twice`,
    })),
  ];
}

function configProblems({ metadata, latestDate, ownSecrets }: UploadForPlan) {
  const { config } = metadata;
  const varsBytes = new TextEncoder().encode(JSON.stringify(config.vars)).byteLength;
  if (varsBytes > LIMITS.varsBytesMax)
    return refuse('env_too_large', [
      { path: 'config.vars', message: `${varsBytes} bytes, at most ${LIMITS.varsBytesMax} are allowed` },
    ]);
  const compatibility = compatibilityProblems(
    config.compatibilityDate,
    config.compatibilityFlags,
    latestDate,
  );
  if (compatibility.length > 0) return refuse('compatibility_invalid', compatibility);
  const layersTwice = duplicates(config.layers.map(({ name }) => name)).map((index) => ({
    path: `config.layers.${index}`,
    message: `layer ${config.layers[index]?.name} is listed twice`,
  }));
  const problems = [...layersTwice, ...bindingsTwice(config, ownSecrets)];
  return problems.length > 0 ? refuse('config_invalid', problems) : undefined;
}

function mainProblem({ metadata, assets }: UploadForPlan, modules: readonly ModuleRef[]) {
  const { main: name } = metadata;
  if (name === undefined) {
    if (modules.length > 0)
      return refuse('config_invalid', [{ path: 'main', message: 'names none of the uploaded modules' }]);
    return assets === undefined
      ? refuse('module_missing', [
          { path: 'main', message: 'the version has neither code nor static assets' },
        ])
      : undefined;
  }
  const main = modules.find((module) => module.name === name);
  if (main === undefined)
    return refuse('module_missing', [
      { path: 'main', message: `${name} is not one of the uploaded modules` },
    ]);
  if (main.type !== 'esm' && main.type !== 'commonjs')
    return refuse('config_invalid', [
      { path: 'main', message: `${name} is of type ${main.type}; the main module must be code` },
    ]);
  return undefined;
}

function missingThings(named: NamedThings) {
  for (const { kind, things } of named) {
    const missing = things.filter(({ id }) => id === undefined);
    if (missing.length > 0)
      return refuse(
        kind.things?.missing ?? 'not_found',
        missing.map(({ path, what }) => ({ path, message: `there is no ${what}` })),
      );
  }
  return undefined;
}

/**
 * A thing that was made anew under its name makes another version. Namespaces of KV stand as they always did, or every
 * stored version would be another one.
 */
function identityOf(bindings: readonly ResolvedBinding[]): object {
  const kv = bindings.filter(({ kind }) => kind === 'kv');
  const others = bindings.filter(({ kind }) => kind !== 'kv');
  return {
    ...(kv.length === 0 ? {} : { kv: kv.map(({ name, id }) => ({ binding: name, namespaceId: id })) }),
    ...(others.length === 0 ? {} : { bindings: others }),
  };
}

export interface UploadForPlan {
  readonly metadata: PublishMetadata;
  readonly modules: readonly UploadedPart[];
  readonly maps: readonly UploadedPart[];
  /** In the order of `config.layers`. */
  readonly layers: readonly ResolvedLayer[];
  readonly things: NamedThings;
  /** Names of the function's own secrets. */
  readonly ownSecrets: readonly string[];
  /** Digest of the manifest. */
  readonly assets: Digest | undefined;
  readonly latestDate: string;
}

export function planVersion(upload: UploadForPlan): Planned<VersionPlan> {
  const { metadata } = upload;
  const own = planModules(metadata.modules, upload.modules);
  if (own.kind === 'refused') return own;
  const badMain = mainProblem(upload, own.plan);
  if (badMain !== undefined) return badMain;
  const orphans = upload.maps.filter(({ name }) => !own.plan.some((module) => module.name === name));
  if (orphans.length > 0)
    return refuse(
      'module_missing',
      orphans.map(({ name }) => ({ path: 'parts', message: `map:${name} belongs to no uploaded module` })),
    );
  const config = configProblems(upload);
  if (config !== undefined) return config;
  const absent = upload.layers.flatMap(({ name, version, content }, index) =>
    content === undefined
      ? [{ path: `config.layers.${index}`, message: `there is no layer ${name} with version ${version}` }]
      : [],
  );
  if (absent.length > 0) return refuse('layer_not_found', absent);
  const missing = missingThings(upload.things);
  if (missing !== undefined) return missing;
  const bindings = upload.things.flatMap(({ kind, things }) =>
    things.flatMap(({ name, id }) => (id === undefined ? [] : [{ kind: kind.kind, name, id, terms: {} }])),
  );
  const modules = [
    ...[...own.plan].sort(byName),
    ...mountLayers(upload.layers.map(({ content }) => content?.modules ?? [])),
  ];
  const tooLarge = sizeProblem(modules);
  if (tooLarge !== undefined) return refuse('bundle_too_large', [tooLarge]);
  return {
    kind: 'planned',
    plan: {
      modules,
      maps: Object.fromEntries(upload.maps.map(({ name, digest }) => [name, digest])),
      bindings,
      identity: canonicalJson({
        form: 'version.1',
        main: metadata.main,
        modules,
        config: metadata.config,
        ...identityOf(bindings),
        ...(upload.assets === undefined ? {} : { assets: upload.assets }),
      }),
    },
  };
}
