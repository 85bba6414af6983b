/** A name that the platform does not know: which one that exists was meant? */
import { z } from 'zod';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { Context } from '../context.ts';
import { closest } from '../guess.ts';
import type { ControlApi } from './api.ts';

const named = z.looseObject({ name: z.string() });
/** One page is enough to guess from, and asked only after a failure. */
const GUESS_TIMEOUT_MS = 3_000;

interface Place {
  /** What it is, for `There is no … NAME.` */
  readonly what: string;
  /** @param group - that the command belongs to. */
  readonly typed: (
    args: readonly string[],
    options: Readonly<Record<string, unknown>>,
    group: string | undefined,
  ) => unknown;
  /** Path of what exists; undefined where there is no list for the caller. */
  readonly list: (args: readonly string[], options: Readonly<Record<string, unknown>>) => string | undefined;
}

const PLACES: Partial<Record<ErrorCode, Place>> = {
  function_not_found: {
    what: 'function',
    typed: (args, options) => options['function'] ?? args[0],
    list: () => '/functions?limit=200',
  },
  alias_not_found: {
    what: 'alias',
    typed: (args, options) => options['alias'] ?? args[1],
    list: (args) => `/functions/${args[0]}/aliases?limit=200`,
  },
  layer_not_found: { what: 'layer', typed: (args) => args[0], list: () => '/layers?limit=200' },
  namespace_not_found: {
    what: 'KV namespace',
    typed: (args) => args[0],
    list: () => '/kv-namespaces?limit=200',
  },
  secret_not_found: {
    what: 'secret',
    typed: (args) => args[0],
    list: (_args, options) =>
      typeof options['function'] === 'string'
        ? `/functions/${options['function']}/secrets?limit=200`
        : '/secrets?limit=200',
  },
  account_not_found: {
    what: 'account',
    // Elsewhere the first argument is another name.
    typed: (args, options, group) => (group === 'accounts' ? args[0] : options['account']),
    list: () => undefined,
  },
};

export interface Typed {
  readonly context: Context;
  /** `accounts` of `accounts delete`. */
  readonly group: string | undefined;
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

/** The same failure, with the name that is not there in its detail, and the one that was meant when there is one. */
export async function withGuess(thrown: unknown, { context, group, args, options }: Typed): Promise<unknown> {
  // Who knew better has already guessed.
  if (!(thrown instanceof PlatformError) || thrown.publicDetail?.includes('Did you mean') === true)
    return thrown;
  const place = PLACES[thrown.code];
  const typed = place?.typed(args, { ...context.options, ...options }, group);
  if (place === undefined || typeof typed !== 'string') return thrown;
  const absent = thrown.publicDetail === undefined ? [`There is no ${place.what} ${typed}.`] : [];
  const guess = await guessFor(typed, context, place.list(args, options));
  const details = [...absent, ...(guess === undefined ? [] : [`Did you mean "${guess}"?`])];
  return details.length === 0 ? thrown : withDetail(thrown, details.join(' '));
}

async function guessFor(
  typed: string,
  context: Context,
  list: string | undefined,
): Promise<string | undefined> {
  if (list === undefined) return undefined;
  try {
    const { api } = await context.platform();
    return closest(typed, await namesIn(api, list));
  } catch {
    // A guess is a courtesy: the failure itself is what counts.
    return undefined;
  }
}

async function namesIn(api: ControlApi, list: string): Promise<string[]> {
  const signal = AbortSignal.timeout(GUESS_TIMEOUT_MS);
  const page = await api.call(api.path(list), z.object({ items: z.array(named) }), { signal });
  return page.items.map((item) => item.name);
}

export function withDetail(error: PlatformError, text: string): PlatformError {
  const detail = error.publicDetail === undefined ? text : `${error.publicDetail} ${text}`;
  return new PlatformError(error.code, error.message, {
    cause: error.cause,
    extensions: error.extensions,
    publicDetail: detail,
  });
}
