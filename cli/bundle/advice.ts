/** What the bundler's errors mean to a person: each cause once, with the way out. */
import type { Message } from 'esbuild';
import { NODE_MODULES } from './node-modules.ts';
import type { Problem } from '../failure.ts';
import { builtinName } from './node-builtins.ts';

const NAMES_SHOWN = 8;

function positionOf({ location }: Message): { at?: string } {
  return location === null ? {} : { at: `${location.file}:${location.line}:${location.column + 1}` };
}

export function unresolved(message: Message): string | undefined {
  return /^Could not resolve "([^"]*)"/.exec(message.text)?.[1];
}

/** Imports that only Deno reads. */
export function isDenoImport(specifier: string): boolean {
  return /^(?:jsr:|npm:|https?:\/\/)/.test(specifier);
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN).join(', ');
  return names.length > NAMES_SHOWN ? `${shown} and ${names.length - NAMES_SHOWN} more` : shown;
}

/** One problem for all messages of a kind, at the first place where it shows. */
function together(
  messages: readonly Message[],
  say: (names: readonly string[]) => Omit<Problem, 'at'>,
): Problem[] {
  const first = messages[0];
  if (first === undefined) return [];
  const names = [...new Set(messages.map((message) => unresolved(message) ?? ''))];
  return [{ ...positionOf(first), ...say(names) }];
}

export function problemsOfBundle(messages: readonly Message[]): Problem[] {
  const ofNode: Message[] = [];
  const unknownToNode: Message[] = [];
  const ofDeno: Message[] = [];
  const ofBuild: Message[] = [];
  const missing = new Map<string, Message[]>();
  const others: Message[] = [];
  for (const message of messages) {
    const specifier = unresolved(message);
    const builtin = specifier === undefined ? undefined : builtinName(specifier);
    if (specifier === undefined || /^[./]/.test(specifier)) others.push(message);
    else if (builtin !== undefined) (NODE_MODULES.includes(builtin) ? ofNode : unknownToNode).push(message);
    else if (specifier.startsWith('virtual:')) ofBuild.push(message);
    else if (isDenoImport(specifier)) ofDeno.push(message);
    else missing.set(packageOf(specifier), [...(missing.get(packageOf(specifier)) ?? []), message]);
  }
  return [
    ...others.map((message) => ({ ...positionOf(message), message: message.text })),
    ...together(ofNode, (names) => ({
      message: `${list(names)}: modules of Node.js, which this compatibility date does not have by itself`,
      hint: 'add "nodejs_compat" to the compatibility flags, or take a compatibility date from 2026-08-04 on',
    })),
    ...together(unknownToNode, (names) => ({
      message: `${list(names)}: the runtime has no such module of Node.js`,
    })),
    ...together(ofDeno, denoProblem),
    ...together(ofBuild, (names) => ({
      message: `${list(names)}: modules that the project's own build makes`,
      hint: 'run its build first (npm run build); what the build leaves is deployed',
    })),
    ...[...missing].flatMap(([name, of]) =>
      together(of, (names) => ({
        message: `Could not resolve ${names.map((text) => `"${text}"`).join(', ')}`,
        hint: `is the package installed? npm install ${name}`,
      })),
    ),
  ];
}

export function denoProblem(names: readonly string[]): Omit<Problem, 'at'> {
  return {
    message: `${list(names)}: this is a program for Deno, and Isoplane does not run those yet`,
    hint: 'import npm packages by their plain names, and export default { fetch } instead of Deno.serve',
  };
}
