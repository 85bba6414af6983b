/** `isoplane completion SHELL`, and `isoplane complete`, which its script calls at each press of the key. */
import process from 'node:process';
import type { Command } from 'commander';
import { z } from 'zod';
import { Context, type GlobalOptions } from '../context.ts';
import { readProfiles } from '../client/profiles.ts';
import { complete, type NameKind, type Names } from '../completion/complete.ts';
import { COMPLETION_SCRIPTS, SHELLS } from '../completion/scripts.ts';
import { topics } from './docs.ts';
import { argument } from './arguments.ts';

/** Nobody waits longer for a suggestion. */
const NAMES_TIMEOUT_MS = 1_500;

export function completion(_context: Context, args: readonly string[]): Promise<void> {
  process.stdout.write(COMPLETION_SCRIPTS[argument('shell', args[0], z.enum(SHELLS))]);
  return Promise.resolve();
}

/** One candidate a line, its description after a tab. Never a failure: a shell has nowhere to show one. */
export async function completeWords(program: Command, words: readonly string[]): Promise<void> {
  const context = new Context(namedIn(words));
  const names: Names = (kind, before) => namesOf(context, kind, before).catch(() => []);
  const found = await complete(program, words, names);
  const lines = found.map(({ value, description }) =>
    description === '' ? value : `${value}\t${description}`,
  );
  if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
}

/** The platform that the line itself names. */
function namedIn(words: readonly string[]): GlobalOptions {
  const valueOf = (flag: string): Record<string, string> => {
    const index = words.indexOf(`--${flag}`);
    const value = words[index + 1];
    return index < 0 || value === undefined || index + 1 === words.length - 1 ? {} : { [flag]: value };
  };
  return { ...valueOf('data'), ...valueOf('profile'), ...valueOf('account') };
}

const LISTS: Partial<Record<NameKind, (before: readonly string[]) => string>> = {
  function: () => '/functions',
  alias: ([name]) => `/functions/${name}/aliases`,
  namespace: () => '/kv-namespaces',
  layer: () => '/layers',
  secret: () => '/secrets',
  key: () => '/keys',
  route: () => '/routes',
};

async function namesOf(
  context: Context,
  kind: NameKind,
  before: readonly string[],
): Promise<readonly string[]> {
  if (kind === 'topic') return (await topics()).map((topic) => topic.name);
  if (kind === 'profile') return Object.keys((await readProfiles()).profiles);
  const { api } = await context.platform();
  const path = kind === 'account' ? '/v1/accounts' : api.path(LISTS[kind]?.(before) ?? '');
  const item = z.looseObject({
    name: z.string().optional(),
    host: z.string().optional(),
    path: z.string().optional(),
  });
  const page = await api.call(`${path}?limit=200`, z.object({ items: z.array(item) }), {
    signal: AbortSignal.timeout(NAMES_TIMEOUT_MS),
  });
  return page.items.map((each) => each.name ?? `${each.host}${each.path}`);
}
