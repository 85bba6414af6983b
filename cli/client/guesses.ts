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
  readonly typed: (args: readonly string[], options: Readonly<Record<string, unknown>>) => unknown;
  readonly list: (args: readonly string[]) => string;
}

const PLACES: Partial<Record<ErrorCode, Place>> = {
  function_not_found: {
    typed: (args, options) => options['function'] ?? args[0],
    list: () => '/functions?limit=200',
  },
  alias_not_found: {
    typed: (args, options) => options['alias'] ?? args[1],
    list: (args) => `/functions/${args[0]}/aliases?limit=200`,
  },
  layer_not_found: { typed: (args) => args[0], list: () => '/layers?limit=200' },
  namespace_not_found: { typed: (args) => args[0], list: () => '/kv-namespaces?limit=200' },
  secret_not_found: { typed: (args) => args[0], list: () => '/secrets?limit=200' },
};

/** The same failure, with the guess in its detail when there is one. */
export async function withGuess(
  thrown: unknown,
  context: Context,
  args: readonly string[],
  options: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  // Who knew better has already guessed.
  if (!(thrown instanceof PlatformError) || thrown.publicDetail?.includes('Did you mean') === true)
    return thrown;
  const place = PLACES[thrown.code];
  const typed = place?.typed(args, options);
  if (place === undefined || typeof typed !== 'string') return thrown;
  try {
    const { api } = await context.platform();
    const guess = closest(typed, await namesIn(api, place.list(args)));
    return guess === undefined ? thrown : withDetail(thrown, `Did you mean "${guess}"?`);
  } catch {
    // A guess is a courtesy: the failure itself is what counts.
    return thrown;
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
