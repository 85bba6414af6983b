/** Tells an answer of the platform from one of the function. */
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { aliasViewSchema, functionViewSchema } from '#shared/contracts/api.ts';
import { VERSION } from '#shared/contracts/invoke.ts';
import { fromProblem, isErrorCode, PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { ControlApi } from '../client/api.ts';
import { hostIsClosed, routesTo, type Called } from '../client/addresses.ts';
import { withDetail } from '../client/guesses.ts';
import { CliError, withAdvice } from '../failure.ts';
import { didYouMean } from '../guess.ts';

/** The function ran, or tried to: its owner has to look. */
const OF_THE_FUNCTION: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'function_error',
  'startup_failed',
  'cpu_exceeded',
  'memory_exceeded',
  'crashed',
  'response_invalid',
  'timeout',
  'instance_lost',
  'evicted',
  'call_depth_exceeded',
]);
/** The function wants a token; a signature, which every call of this command has, is none. */
const OF_TOKENS: Partial<Record<ErrorCode, string>> = {
  token_missing: 'Give one: -H "authorization: Bearer TOKEN"',
  token_invalid:
    '`isoplane accounts issuer show` shows whose tokens the account accepts; the function may name others in `auth`.',
  token_expired: 'Get a new one from its issuer, and check the clock of this machine.',
};
const ROUTES_SHOWN_MAX = 5;
const PROBLEM_BYTES_MAX = 64 * 1_024;

/** The gateway's own word that nothing answers there. */
export function isNotFound({ statusCode, headers }: IncomingMessage): boolean {
  return statusCode === 404 && headers[VERSION] === undefined && isProblem(headers);
}

const isProblem = (headers: IncomingMessage['headers']): boolean =>
  headers['content-type']?.startsWith('application/problem+json') === true;

/**
 * Reads the body of an answer that is the platform's own word, and only then: a function's answer carries its
 * version, and stays unread.
 *
 * @returns the body when it was read and the function is to blame.
 * @throws {PlatformError} the call never reached the function.
 */
export async function refusal(
  response: IncomingMessage,
  called: { readonly api: ControlApi; readonly name: string; readonly alias: string },
): Promise<Buffer | undefined> {
  if ((response.statusCode ?? 0) < 400 || response.headers[VERSION] !== undefined) return undefined;
  if (!isProblem(response.headers)) return undefined;
  const body = await readAll(response);
  const problem = parseJson(body);
  const code: unknown =
    typeof problem === 'object' && problem !== null ? Reflect.get(problem, 'code') : undefined;
  if (!isErrorCode(code) || OF_THE_FUNCTION.has(code)) return body;
  const error = fromProblem(problem, `the gateway answered ${response.statusCode}`);
  if (code === 'function_not_found') throw await withWhatExists(error, called);
  const advice = OF_TOKENS[code];
  throw advice === undefined ? error : withAdvice(error, advice);
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > PROBLEM_BYTES_MAX) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** It exists, and does not answer at the address that was called. */
async function notHere(api: ControlApi, called: Called): Promise<CliError> {
  const { name, alias } = called;
  const fail = (message: string, advice: string): CliError =>
    new CliError('function_not_found', message, { advice });
  if (!(await hostIsClosed(api, called)))
    return fail(
      `${name} exists, and the gateway does not serve its alias ${alias}.`,
      'Wait a moment and repeat; `isoplane status` shows which gateways are behind.',
    );
  const alone = `${name} answers at its routes alone ("defaultHost": false)`;
  const routes = await routesTo(api, called);
  if (routes === undefined)
    return fail(`${alone}.`, 'This key may not list them: call one of them with curl, or use another key.');
  const places = routes.slice(0, ROUTES_SHOWN_MAX).map(({ host, path }) => `${host}${path}`);
  const add = `isoplane routes add HOST '/*' ${name}${alias === 'live' ? '' : ` --alias ${alias}`}`;
  return places.length === 0
    ? fail(`${alone}, and there is none.`, `\`${add}\` makes one.`)
    : fail(
        `${alone}, and none takes this path.`,
        `Give a --path that one of them takes: ${places.join(', ')}.`,
      );
}

/** The gateway says the same of an unknown function and an unknown alias; control can tell them apart. */
async function withWhatExists(
  refused: PlatformError,
  { api, name, alias }: { readonly api: ControlApi; readonly name: string; readonly alias: string },
): Promise<PlatformError | CliError> {
  const page = z.object({ items: z.array(aliasViewSchema) });
  const aliases = await api
    .call(api.path(`/functions/${name}/aliases?limit=200`), page)
    .catch(() => undefined);
  if (aliases === undefined) {
    const functions = z.object({ items: z.array(functionViewSchema) });
    const found = await api.call(api.path('/functions?limit=200'), functions).catch(() => undefined);
    const guess = didYouMean(name, found?.items.map((item) => item.name) ?? []);
    return guess === '' ? refused : withDetail(refused, guess.trim());
  }
  const names = aliases.items.map((each) => each.name);
  if (names.some((each) => each === alias)) return notHere(api, { name, alias });
  const message = `${name} has no alias ${alias}.${didYouMean(alias, names)}`;
  return new PlatformError('alias_not_found', refused.message, { publicDetail: message });
}
