/** Finds and parses the files that configure a project: ours, wrangler's, and what a framework's build left. */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import process from 'node:process';
import { parse as parseToml, TomlError } from 'smol-toml';
import { parseTree, getNodeValue, printParseErrorCode, type ParseError } from 'jsonc-parser';
import { CliError, EXIT, type Problem } from '../failure.ts';
import { lineAndColumn, type SourceText } from './problems.ts';

const OWN_NAMES = ['isoplane.jsonc', 'isoplane.json'] as const;
const WRANGLER_NAMES = ['wrangler.jsonc', 'wrangler.json', 'wrangler.toml'] as const;
export const FILE_NAMES = [...OWN_NAMES, ...WRANGLER_NAMES] as const;
/** Where builds of frameworks say which configuration they made. */
export const REDIRECT = '.wrangler/deploy/config.json';
const CONFIG_BYTES_MAX = 1024 * 1024;
const CODE = /\.(?:[cm]?[jt]s|[jt]sx|py)$/;

/** By its name: the rest are names of packages, which a build resolves. */
export const isCode = (path: string): boolean => CODE.test(path);

export interface ConfigFile {
  readonly path: string;
  readonly source: SourceText;
  readonly content: Readonly<Record<string, unknown>>;
}

/**
 * Which wrangler configuration counts: `built`: the one that a framework's build has left, where there is one;
 * `written`: the one that a person wrote, and the other only where there is none; `by-hand`: that one alone.
 */
export type ConfigOrigin = 'built' | 'written' | 'by-hand';

export interface Sources {
  /** Folder that the project is in: where a person's configuration lies, never that of a generated one. */
  readonly root: string;
  readonly own: ConfigFile | undefined;
  /** Its paths are relative to its own folder. */
  readonly wrangler: ConfigFile | undefined;
  /** `wrangler` was left by a build. */
  readonly isGenerated: boolean;
  /** Entry file of the command line. */
  readonly main: string | undefined;
  readonly warnings: readonly string[];
}

/** @param target - a project folder, a configuration file, or the entry file. */
export async function readSources(target: string, origin: ConfigOrigin): Promise<Sources> {
  if (!(await isFile(target))) return inFolder(target, undefined, origin);
  if (isCode(target)) return inFolder(await folderOfEntry(target), target, 'by-hand');
  const file = await readConfigFile(target);
  const isOwn = basename(target).startsWith('isoplane.') || 'compatibilityDate' in file.content;
  return {
    root: dirname(target),
    own: isOwn ? file : undefined,
    wrangler: isOwn ? undefined : file,
    isGenerated: false,
    main: undefined,
    warnings: [],
  };
}

/** The nearest folder above an entry file that is configured, not above the current one; else the current one. */
async function folderOfEntry(entry: string): Promise<string> {
  const here = process.cwd();
  const isBelow = entry.startsWith(`${here}${sep}`);
  for (let folder = dirname(entry); ; folder = dirname(folder)) {
    if ((await firstOf(folder, [...FILE_NAMES, REDIRECT, 'package.json'])) !== undefined) return folder;
    if (folder === here || folder === dirname(folder)) return isBelow ? here : dirname(entry);
  }
}

async function inFolder(folder: string, main: string | undefined, origin: ConfigOrigin): Promise<Sources> {
  const warnings: string[] = [];
  const [ownPath, ...ownHidden] = await allOf(folder, OWN_NAMES);
  const [wranglerPath, ...wranglerHidden] = await allOf(folder, WRANGLER_NAMES);
  for (const [hidden, by] of [
    [ownHidden, ownPath],
    [wranglerHidden, wranglerPath],
  ] as const)
    for (const path of hidden) warnings.push(`${basename(path)} is not read: ${basename(by ?? '')} hides it`);
  const isLookedFor = origin === 'built' || (origin === 'written' && wranglerPath === undefined);
  const redirect = isLookedFor ? await redirected(folder) : undefined;
  if (redirect !== undefined)
    warnings.push(
      `${shown(redirect)} is used, which the last build left${wranglerPath === undefined ? '' : ` in place of ${basename(wranglerPath)}`}`,
    );
  const wrangler = redirect ?? wranglerPath;
  const isNothing = ownPath === undefined && wrangler === undefined && main === undefined;
  if (isNothing && !(await isFile(join(folder, REDIRECT))))
    throw new CliError('project_not_found', `There is no isoplane.jsonc or wrangler.toml in ${folder}.`, {
      advice:
        'Run the command in a project folder, or name one or its entry file; `isoplane init NAME` makes a new project.',
      exitCode: EXIT.usage,
    });
  return {
    root: folder,
    own: ownPath === undefined ? undefined : await readConfigFile(ownPath),
    wrangler: wrangler === undefined ? undefined : await readConfigFile(wrangler),
    isGenerated: redirect !== undefined,
    main,
    warnings,
  };
}

async function redirected(folder: string): Promise<string | undefined> {
  const path = join(folder, REDIRECT);
  if (!(await isFile(path))) return undefined;
  const { configPath } = (await readConfigFile(path)).content;
  const target = typeof configPath === 'string' ? resolve(dirname(path), configPath) : undefined;
  if (target !== undefined && (await isFile(target))) return target;
  const message = `configPath: there is no file ${String(configPath)}; build the project again`;
  throw invalid(shown(path), [{ message }], 'not_built');
}

/** Path of the configuration file that a project folder or file stands for. */
export async function findConfig(target: string): Promise<string> {
  if (await isFile(target)) return target;
  const found = await firstOf(target, [...FILE_NAMES, REDIRECT]);
  if (found !== undefined) return found;
  throw new CliError('project_not_found', `There is no isoplane.jsonc or wrangler.toml in ${target}.`, {
    advice: 'Run the command in a project folder or name one; `isoplane init NAME` makes a new project.',
    exitCode: EXIT.usage,
  });
}

async function allOf(folder: string, names: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of names) if (await isFile(join(folder, name))) found.push(join(folder, name));
  return found;
}

async function firstOf(folder: string, names: readonly string[]): Promise<string | undefined> {
  return (await allOf(folder, names))[0];
}

export function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isFile(),
    () => false,
  );
}

const shown = (path: string): string => relative(process.cwd(), path) || basename(path);

async function readConfigFile(path: string): Promise<ConfigFile> {
  const text = await readFile(path, 'utf8');
  const name = shown(path);
  if (text.length > CONFIG_BYTES_MAX)
    throw invalid(name, [{ message: `larger than ${CONFIG_BYTES_MAX} bytes` }]);
  const { source, content } = extname(path) === '.toml' ? fromToml(name, text) : fromJsonc(name, text);
  if (typeof content !== 'object' || content === null || Array.isArray(content))
    throw invalid(name, [{ message: 'the file holds no object' }]);
  return { path, source, content: content as Record<string, unknown> };
}

/** @param code - `not_built`: the next build may mend it. */
export function invalid(
  name: string,
  problems: readonly Problem[],
  code: 'config_invalid' | 'not_built' = 'config_invalid',
): CliError {
  return new CliError(
    code,
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
