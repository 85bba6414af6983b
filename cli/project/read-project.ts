/** Reads a project's configuration and reports every problem in it at once. */
import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { z } from 'zod';
import { redundantFlags } from '#shared/compatibility/flags.ts';
import { corsSchema, originProblems } from '#shared/contracts/cors.ts';
import type { Problem } from '../failure.ts';
import { egressWarnings } from './egress-warnings.ts';
import { overlay } from './overlay.ts';
import type { Project } from './project.ts';
import { position, problemsOf } from './problems.ts';
import { COMPATIBILITY_DATE } from './scaffold.ts';
import { assetsConfigSchema } from '#shared/contracts/assets.ts';
import { projectFileSchema } from './schema.ts';
import { invalid, isCode, isFile, readSources, type ConfigFile, type Sources } from './sources.ts';
import { asFunctionName, translateWrangler, type Translated } from './wrangler.ts';

export const KNOWN_KEYS = [
  ...Object.keys(projectFileSchema.shape),
  ...Object.keys(projectFileSchema.shape.limits.unwrap().shape),
  ...Object.keys(projectFileSchema.shape.scaling.unwrap().shape),
  ...Object.keys(assetsConfigSchema.shape),
  'directory',
  'mode',
  'jwks',
  'issuer',
  'audience',
  'algorithms',
  'tokenQuery',
  'path',
  ...Object.keys(corsSchema.shape),
  'type',
  'globs',
  'version',
];

/** What the command line says beside the target. */
export interface ProjectOptions {
  /** `env.NAME` of a wrangler file. */
  readonly environment?: string | undefined;
  /** Of several projects not each has every environment: the top level is taken, and that is said. */
  readonly environmentOptional?: boolean;
  readonly auth?: 'public' | 'signed' | undefined;
  readonly name?: string | undefined;
  /** Default: `built`. */
  readonly origin?: 'built' | 'written';
}

/**
 * @param target - a project folder, a configuration file, or the entry file.
 * @throws {CliError} `project_not_found`, or `config_invalid` with all problems and their positions.
 */
export async function readProject(target: string, options: ProjectOptions = {}): Promise<Project> {
  const origin = options.origin ?? 'built';
  const sources = await readSources(resolve(target), origin);
  const { own, wrangler } = sources;
  const base = await translated(sources, options);
  const warnings = [...sources.warnings, ...base.warnings];
  const wranglerRoot = wrangler === undefined ? sources.root : dirname(wrangler.path);
  const joined = overlay(
    absolutePaths(base.value, wranglerRoot),
    absolutePaths(own?.content ?? {}, sources.root),
  );
  if (own !== undefined && wrangler !== undefined && joined.overridden.length > 0)
    warnings.push(
      `${basename(own.path)} overrides ${joined.overridden.join(', ')} of ${basename(wrangler.path)}`,
    );
  const value = {
    ...joined.value,
    ...(sources.main === undefined ? {} : { main: sources.main }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.auth === undefined ? {} : { auth: { mode: options.auth } }),
  };
  const file = own ?? wrangler;
  const name = file?.source.name ?? target;
  const source = file?.source ?? { name, text: '', tree: undefined };
  const parsed = projectFileSchema.safeParse(value);
  if (!parsed.success) throw invalid(name, problemsOf(parsed.error, source, KNOWN_KEYS));
  const origins = originProblems(parsed.data.cors?.origins ?? []);
  if (origins.length > 0)
    throw invalid(
      name,
      origins.map(({ path, message }) => ({
        at: position(source, [
          'cors',
          ...path.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part)),
        ]),
        message: `cors.${path}: ${message}`,
      })),
    );
  const project = projectOf(parsed.data, {
    limitsGiven: Object.keys((value as { readonly limits?: object }).limits ?? {}),
    root: sources.root,
    configPath: file?.path ?? resolve(target),
    isGenerated: sources.isGenerated,
    unsupported: base.unsupported,
    warnings,
  });
  if (project.main === undefined && project.assetsFolder === undefined)
    throw invalid(name, [nothingToDeploy(wrangler)]);
  if (project.main === undefined || (await isFile(project.main))) return project;
  const given = own?.content['main'] ?? wrangler?.content['main'];
  const main = typeof given === 'string' ? given : project.main;
  // Types are written of what a person wrote, also before the first build.
  if (origin === 'written' && (parsed.data.build !== undefined || sources.isGenerated || !isCode(main)))
    return { ...project, main: undefined };
  const problem = { at: position(source, ['main']), message: `main: there is no file ${main}` };
  throw invalid(
    name,
    [{ ...problem, ...(await mainHint(sources, main)) }],
    sources.isGenerated ? 'not_built' : 'config_invalid',
  );
}

/** Who may make the file. */
async function mainHint({ root }: Sources, main: string): Promise<{ readonly hint?: string }> {
  if (await hasBuild(root)) return { hint: 'the project has a build that may make it: npm run build' };
  if (isCode(main)) return {};
  return { hint: 'its framework makes the code: run its build first, here or as build.command' };
}

/** Pages projects have functions of their own kind in folders of their own; what they are is told by name. */
function nothingToDeploy(wrangler: ConfigFile | undefined): Problem {
  if (wrangler !== undefined && typeof wrangler.content['pages_build_output_dir'] === 'string')
    return {
      at: position(wrangler.source, ['pages_build_output_dir']),
      message: 'pages_build_output_dir: this is a Pages project, and those are not run',
      hint: 'as a Worker it has `main` for its code and `assets.directory` for its files',
    };
  return {
    message:
      'main: name the entry file, here or on the command line: isoplane deploy src/index.ts (only static assets need none)',
  };
}

async function hasBuild(root: string): Promise<boolean> {
  const text = await readFile(join(root, 'package.json'), 'utf8').catch(() => '{}');
  return /"build"\s*:\s*"/.test(text);
}

/** Members that are paths, relative to the file that they stand in. */
export function absolutePaths(value: ConfigFile['content'], root: string): ConfigFile['content'] {
  const absolute = (path: unknown): unknown => (typeof path === 'string' ? resolve(root, path) : path);
  const paths = ['main', 'baseDir', 'tsconfig'].filter(
    (key) => typeof value[key] === 'string' && value[key] !== '',
  );
  const renamed = assetNames(value['assets']);
  const { alias } = value;
  const aliased = (to: unknown): unknown =>
    typeof to === 'string' && /^\.\.?\//.test(to) ? resolve(root, to) : to;
  return {
    ...value,
    ...Object.fromEntries(paths.map((key) => [key, absolute(value[key])])),
    ...(renamed === undefined ? {} : { assets: { ...renamed, directory: absolute(renamed['directory']) } }),
    ...(typeof alias === 'object' && alias !== null
      ? { alias: Object.fromEntries(Object.entries(alias).map(([from, to]) => [from, aliased(to)])) }
      : {}),
  };
}

/** What there is below our own file: a wrangler file, or names for a lone entry file. */
export async function translated(sources: Sources, options: ProjectOptions): Promise<Translated> {
  const { own, wrangler, root } = sources;
  const environment = sources.isGenerated ? beyondBuild(sources, options) : options.environment;
  const lacks =
    options.environmentOptional === true &&
    environment !== undefined &&
    !Object.hasOwn(wrangler?.content['env'] ?? {}, environment);
  if (lacks) {
    const base = await translated(sources, { ...options, environment: undefined });
    const name = (wrangler ?? own)?.source.name ?? root;
    const isAbsent = `${name} has no environment ${environment}: its top level is taken`;
    return { ...base, warnings: [isAbsent, ...base.warnings] };
  }
  const none = { warnings: [], unsupported: [] };
  if (wrangler === undefined) {
    if (environment !== undefined)
      throw invalid(own?.source.name ?? root, [
        { message: `env: there is no environment ${environment}; wrangler files have them` },
      ]);
    if (own !== undefined) return { value: {}, ...none };
    return {
      value: { name: await nameOf(root), compatibilityDate: COMPATIBILITY_DATE },
      unsupported: [],
      warnings: [`no configuration file: compatibility date ${COMPATIBILITY_DATE} is taken`],
    };
  }
  const { source, content } = wrangler;
  const outcome = translateWrangler(content, {
    fileName: basename(wrangler.path),
    environment,
    fallbackName: await nameOf(root),
    fallbackDate: COMPATIBILITY_DATE,
    at: (key) => position(source, [key]),
  });
  if (outcome.ok) return outcome.translated;
  throw invalid(
    source.name,
    'problem' in outcome ? [outcome.problem] : problemsOf(outcome.error, source, KNOWN_KEYS),
  );
}

/** A build makes the configuration of one environment, and says of which. */
function beyondBuild(
  { wrangler }: Sources,
  { environment, environmentOptional }: ProjectOptions,
): string | undefined {
  if (wrangler === undefined || environment === undefined) return environment;
  const { targetEnvironment, env } = wrangler.content;
  if (targetEnvironment === environment) return undefined;
  if (environmentOptional === true || Object.hasOwn(env ?? {}, environment)) return environment;
  const made =
    typeof targetEnvironment === 'string' ? `the environment ${targetEnvironment}` : 'no environment';
  throw invalid(wrangler.source.name, [
    {
      message: `env: the last build was for ${made}, not for ${environment}`,
      hint: `build again with CLOUDFLARE_ENV=${environment}; a command in \`build\` is given it`,
    },
  ]);
}

/** Of package.json, else of the folder. */
async function nameOf(root: string): Promise<string> {
  const text = await readFile(join(root, 'package.json'), 'utf8').catch(() => '{}');
  const name = /"name"\s*:\s*"([^"]+)"/.exec(text)?.[1]?.replace(/^@[^/]*\//, '');
  return asFunctionName(name ?? basename(root));
}

function projectOf(
  file: z.output<typeof projectFileSchema>,
  at: Pick<Project, 'root' | 'configPath' | 'isGenerated' | 'limitsGiven' | 'warnings' | 'unsupported'>,
): Project {
  const { name, main, rules, alias, define, noBundle, findAdditionalModules, minify, ...further } = file;
  const {
    baseDir,
    tsconfig,
    jsxFactory,
    jsxFragment,
    build: _build,
    assets,
    $schema: _,
    ...config
  } = further;
  const { directory, ...served } = assets ?? {};
  const redundant = redundantFlags(config.compatibilityDate, config.compatibilityFlags);
  const absolute = (path: string): string => resolve(at.root, path);
  return {
    ...at,
    name,
    main: main === undefined ? undefined : absolute(main),
    assetsFolder: directory === undefined ? undefined : absolute(directory),
    config: {
      ...config,
      ...(assets === undefined ? {} : { assets: assetsConfigSchema.parse(served) }),
      compatibilityFlags: config.compatibilityFlags.filter((flag) => !redundant.includes(flag)),
    },
    rules,
    alias,
    define,
    noBundle,
    findAdditionalModules,
    baseDir: baseDir === undefined ? undefined : absolute(baseDir),
    minify,
    tsconfig: tsconfig === undefined ? undefined : absolute(tsconfig),
    jsxFactory,
    jsxFragment,
    warnings: [
      ...at.warnings,
      ...(redundant.length === 0
        ? []
        : [
            `compatibilityFlags: ${redundant.join(', ')} ${redundant.length === 1 ? 'is' : 'are'} on by default at compatibility date ${config.compatibilityDate}; remove ${redundant.length === 1 ? 'it' : 'them'} from the list`,
          ]),
      ...egressWarnings(config),
    ],
  };
}

const ASSET_NAMES: Readonly<Record<string, string>> = {
  html_handling: 'htmlHandling',
  not_found_handling: 'notFoundHandling',
  run_worker_first: 'runWorkerFirst',
};

/** Within `assets` wrangler's spelling is taken as well: everybody's documentation uses it. */
function assetNames(assets: unknown): Record<string, unknown> | undefined {
  if (typeof assets !== 'object' || assets === null) return undefined;
  const { experimental_serve_directly: _, ...known } = assets as Record<string, unknown>;
  return Object.fromEntries(Object.entries(known).map(([name, each]) => [ASSET_NAMES[name] ?? name, each]));
}
