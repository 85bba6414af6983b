/**
 * What may stand at the end of a command line that is being typed. Pure, but for the names that `names` asks
 * the platform for.
 */
import type { Argument, Command, Option } from 'commander';

export interface Candidate {
  readonly value: string;
  readonly description: string;
}

/** Names that exist: of functions, aliases, …; empty when nobody can be asked in time. */
export type Names = (kind: NameKind, before: readonly string[]) => Promise<readonly string[]>;
export type NameKind =
  | 'function'
  | 'alias'
  | 'namespace'
  | 'layer'
  | 'secret'
  | 'key'
  | 'profile'
  | 'topic'
  | 'route'
  | 'account';

const KINDS: Readonly<Record<string, NameKind>> = {
  function: 'function',
  alias: 'alias',
  namespace: 'namespace',
  layer: 'layer',
  name: 'secret',
  key: 'key',
  profile: 'profile',
  topic: 'topic',
  route: 'route',
  account: 'account',
};
/** Commands whose argument of that name is one to be made. */
const MAKES: ReadonlySet<string> = new Set([
  'kv create',
  'keys create',
  'accounts create',
  'aliases set',
  'secrets put',
]);

/** @param words - after `isoplane`; the last one is being typed and may be empty. */
export async function complete(
  program: Command,
  words: readonly string[],
  names: Names,
): Promise<readonly Candidate[]> {
  const typed = words.at(-1) ?? '';
  const { command, path, given, pending } = walk(program, words.slice(0, -1));
  const inline = /^(--[a-z-]+)=(.*)$/.exec(typed);
  if (inline !== null) {
    const option = optionNamed(program, command, inline[1] ?? '');
    const values = option === undefined ? [] : await valuesOf(option, given, names);
    return startingWith(
      values.map((each) => ({ ...each, value: `${inline[1]}=${each.value}` })),
      typed,
    );
  }
  if (pending !== undefined) return startingWith(await valuesOf(pending, given, names), typed);
  if (typed.startsWith('-')) return startingWith(flagsOf(program, command), typed);
  if (command.commands.length > 0)
    // A word that names nothing leads nowhere.
    return given.length > 0 ? [] : startingWith(wordsBelow(command), typed);
  return startingWith(await argumentValues(program, command, { path, given, names }), typed);
}

/** Follows the words to the command they name; what is left are its arguments. */
function walk(
  program: Command,
  words: readonly string[],
): { command: Command; path: readonly string[]; given: readonly string[]; pending: Option | undefined } {
  let command = program;
  const path: string[] = [];
  const given: string[] = [];
  let pending: Option | undefined;
  for (const word of words) {
    if (pending !== undefined) {
      pending = undefined;
      continue;
    }
    if (word.startsWith('-')) {
      const option = optionNamed(program, command, word);
      pending = option?.required === true ? option : undefined;
      continue;
    }
    const child = given.length === 0 ? command.commands.find((each) => each.name() === word) : undefined;
    if (child === undefined) given.push(word);
    else {
      command = child;
      path.push(word);
    }
  }
  return { command, path, given, pending };
}

function optionNamed(program: Command, command: Command, flag: string): Option | undefined {
  return [...command.options, ...program.options].find((each) => each.long === flag || each.short === flag);
}

function flagsOf(program: Command, command: Command): Candidate[] {
  const options = [...command.options, ...program.options].filter((each) => !each.hidden);
  return [
    ...options.map((each) => ({ value: each.long ?? each.flags, description: each.description })),
    { value: '--help', description: 'explain the command' },
  ];
}

async function valuesOf(option: Option, given: readonly string[], names: Names): Promise<Candidate[]> {
  if (option.argChoices !== undefined) return option.argChoices.map((value) => ({ value, description: '' }));
  const kind = KINDS[option.attributeName()];
  return kind === undefined || kind === 'secret' ? [] : named(await names(kind, given));
}

async function argumentValues(
  program: Command,
  command: Command,
  {
    path,
    given,
    names,
  }: { readonly path: readonly string[]; readonly given: readonly string[]; readonly names: Names },
): Promise<Candidate[]> {
  if (path[0] === 'help') return helpWords(program, given);
  const last = command.registeredArguments.at(-1);
  const argument: Argument | undefined =
    command.registeredArguments[given.length] ?? (last?.variadic === true ? last : undefined);
  if (argument === undefined) return [];
  if (argument.argChoices !== undefined)
    return argument.argChoices.map((value) => ({ value, description: '' }));
  const kind = KINDS[argument.name()];
  const isNew = MAKES.has(path.join(' ')) && argument === last;
  return kind === undefined || isNew ? [] : named(await names(kind, given));
}

function helpWords(program: Command, given: readonly string[]): Candidate[] {
  let command: Command | undefined = program;
  for (const word of given) command = command?.commands.find((each) => each.name() === word);
  return command === undefined ? [] : wordsBelow(command);
}

const wordsBelow = (command: Command): Candidate[] =>
  command
    .createHelp()
    .visibleCommands(command)
    .map((each) => ({ value: each.name(), description: firstLine(each) }));

const named = (values: readonly string[]): Candidate[] => values.map((value) => ({ value, description: '' }));
const firstLine = (command: Command): string => command.description().split('\n')[0] ?? '';

function startingWith(candidates: readonly Candidate[], typed: string): Candidate[] {
  const seen = new Set<string>();
  return candidates.filter(({ value }) => {
    if (!value.startsWith(typed) || seen.has(value)) return false;
    seen.add(value);
    return true;
  });
}
