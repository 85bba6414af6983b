/** Reads a project's configuration and reports every problem in it at once. */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { parse as parseToml, TomlError } from 'smol-toml';
import { parseTree, getNodeValue, printParseErrorCode, type ParseError } from 'jsonc-parser';
import type { z } from 'zod';
import { redundantFlags } from '#shared/compatibility/flags.ts';
import { corsSchema } from '#shared/contracts/cors.ts';
import { CliError, EXIT, type Problem } from '../failure.ts';
import type { Project } from './project.ts';
import { lineAndColumn, position, problemsOf, type SourceText } from './problems.ts';
import { projectFileSchema } from './schema.ts';
import { translateWrangler } from './wrangler.ts';

/** In this order; the first that exists is the project's. */
export const FILE_NAMES = [
  'isoplane.jsonc',
  'isoplane.json',
  'wrangler.jsonc',
  'wrangler.json',
  'wrangler.toml',
] as const;
const CONFIG_BYTES_MAX = 1024 * 1024;

const KNOWN_KEYS = [
  ...Object.keys(projectFileSchema.shape),
  ...Object.keys(projectFileSchema.shape.limits.unwrap().shape),
  ...Object.keys(projectFileSchema.shape.scaling.unwrap().shape),
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

/**
 * @param target - a project folder or a configuration file.
 * @throws {CliError} `project_not_found`, or `config_invalid` with all problems and their positions.
 */
export async function readProject(target: string): Promise<Project> {
  const configPath = await findConfig(resolve(target));
  const root = dirname(configPath);
  const text = await readFile(configPath, 'utf8');
  const name = relative(process.cwd(), configPath) || basename(configPath);
  if (text.length > CONFIG_BYTES_MAX)
    throw invalid(name, [{ message: `larger than ${CONFIG_BYTES_MAX} bytes` }]);
  const { source, content } = extname(configPath) === '.toml' ? fromToml(name, text) : fromJsonc(name, text);
  let value = content;
  let warnings: readonly string[] = [];
  if (basename(configPath).startsWith('wrangler.')) {
    const outcome = translateWrangler(content, name);
    if (!outcome.ok) throw invalid(name, problemsOf(outcome.error, source, KNOWN_KEYS));
    ({ value, warnings } = outcome.translated);
  }
  const parsed = projectFileSchema.safeParse(value);
  if (!parsed.success) throw invalid(name, problemsOf(parsed.error, source, KNOWN_KEYS));
  const project = projectOf(parsed.data, { root, configPath, warnings });
  if (!(await isFile(project.main))) {
    const { main } = parsed.data;
    throw invalid(name, [{ at: position(source, ['main']), message: `main: there is no file ${main}` }]);
  }
  return project;
}

function projectOf(
  file: z.output<typeof projectFileSchema>,
  at: Pick<Project, 'root' | 'configPath' | 'warnings'>,
): Project {
  const { name, main, rules, alias, define, noBundle, findAdditionalModules, minify, ...further } = file;
  const { baseDir, tsconfig, jsxFactory, jsxFragment, build, $schema: _, ...config } = further;
  const redundant = redundantFlags(config.compatibilityDate, config.compatibilityFlags);
  const absolute = (path: string): string => resolve(at.root, path);
  return {
    ...at,
    name,
    main: absolute(main),
    config: {
      ...config,
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
    build: build === undefined ? undefined : { command: build.command, cwd: absolute(build.cwd ?? '.') },
    unsupported: [],
    warnings:
      redundant.length === 0
        ? at.warnings
        : [
            ...at.warnings,
            `compatibility date ${config.compatibilityDate} includes ${redundant.join(', ')}: left out, as the runtime wants it`,
          ],
  };
}

export async function findConfig(target: string): Promise<string> {
  if (await isFile(target)) return target;
  for (const name of FILE_NAMES) {
    const candidate = join(target, name);
    if (await isFile(candidate)) return candidate;
  }
  throw new CliError('project_not_found', `There is no isoplane.jsonc or wrangler.toml in ${target}.`, {
    advice: 'Run the command in a project folder or name one; `isoplane init NAME` makes a new project.',
    exitCode: EXIT.usage,
  });
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isFile(),
    () => false,
  );
}

function invalid(name: string, problems: readonly Problem[]): CliError {
  return new CliError(
    'config_invalid',
    `${name} has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}.`,
    {
      problems: problems.map((problem) => (problem.at === undefined ? { at: name, ...problem } : problem)),
      advice: '`isoplane docs config` lists every key with its range and default.',
    },
  );
}

function fromJsonc(name: string, text: string): { source: SourceText; content: unknown } {
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { allowTrailingComma: true });
  if (errors.length > 0 || tree === undefined) {
    throw invalid(
      name,
      errors.length === 0
        ? [{ message: 'the file is empty' }]
        : errors.map((error) => ({
            at: `${name}:${lineAndColumn(text, error.offset)}`,
            message: `not valid JSONC: ${printParseErrorCode(error.error)}`,
          })),
    );
  }
  return { source: { name, text, tree }, content: getNodeValue(tree) as unknown };
}

function fromToml(name: string, text: string): { source: SourceText; content: unknown } {
  try {
    return { source: { name, text, tree: undefined }, content: parseToml(text) };
  } catch (thrown) {
    if (!(thrown instanceof TomlError)) throw thrown;
    throw invalid(name, [
      {
        at: `${name}:${thrown.line}:${thrown.column}`,
        message: thrown.message.split('\n')[0] ?? 'not valid TOML',
      },
    ]);
  }
}
