/** `isoplane kv`: namespaces that functions bind to, and a look at their values. */
import { readFile } from 'node:fs/promises';
import process from 'node:process';
import { z } from 'zod';
import { kvNamespaceViewSchema } from '#shared/contracts/api.ts';
import { KV_LIMITS, kvKeySchema, kvKeysSchema } from '#shared/contracts/kv.ts';
import { PlatformError } from '#shared/errors.ts';
import { grantedFunctionsSchema } from '#shared/contracts/secrets.ts';
import { kvNamespaceNameSchema, type FunctionName } from '#shared/ids.ts';
import type { ControlApi } from '../client/api.ts';
import { withDetail } from '../client/guesses.ts';
import type { Context } from '../context.ts';
import { didYouMean } from '../guess.ts';
import { whenText } from '../output.ts';
import { table, tableWithSpare } from '../table.ts';
import { argument, usage } from './arguments.ts';

type Args = readonly string[];

const KEYS_SHOWN_MAX = 10_000;

const putOptions = z.object({ file: z.string().optional(), ttl: z.number().optional() });
const keysOptions = z.object({ prefix: z.string().default('') });

function namespacePath(args: Args): string {
  return `/kv-namespaces/${argument('namespace', args[0], kvNamespaceNameSchema)}`;
}

/** The key as a parameter: in a path, `a/../b` would be `b` before it is sent. */
function valuePath(args: Args): string {
  const key = argument('key', args[1], kvKeySchema);
  return `${namespacePath(args)}/value?${new URLSearchParams({ key }).toString()}`;
}

export async function listNamespaces(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path('/kv-namespaces'), kvNamespaceViewSchema);
  context.output.result(items, () =>
    tableWithSpare(
      ['NAMESPACE', 'CREATED', 'ID'],
      items.map(({ name, id, createdAt }) => [name, whenText(createdAt), id]),
    ),
  );
}

const grantOptions = z.object({ forFunction: z.array(z.string()).optional() });

function grantedTo(given: Record<string, unknown>): FunctionName[] | undefined {
  const { forFunction } = grantOptions.parse(given);
  return forFunction === undefined
    ? undefined
    : argument('--for-function', forFunction, grantedFunctionsSchema);
}

export async function createNamespace(
  context: Context,
  args: Args,
  given: Record<string, unknown>,
): Promise<void> {
  const name = argument('namespace', args[0], kvNamespaceNameSchema);
  const { api } = await context.platform();
  const view = await api.call(api.path('/kv-namespaces'), kvNamespaceViewSchema, {
    method: 'POST',
    json: { name, functions: grantedTo(given) },
  });
  context.output.result(view, () => `created KV namespace ${view.name}`);
}

export async function grantNamespace(
  context: Context,
  args: Args,
  given: Record<string, unknown>,
): Promise<void> {
  const { api } = await context.platform();
  const functions = grantedTo(given) ?? null;
  const view = await api.call(api.path(namespacePath(args)), kvNamespaceViewSchema, {
    method: 'PATCH',
    json: { functions },
  });
  context.output.result(view, () =>
    functions === null
      ? `every function of the account may bind ${view.name}`
      : `only ${functions.join(', ')} may bind ${view.name}; versions that bind it keep it`,
  );
}

export async function deleteNamespace(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  await api.send(api.path(namespacePath(args)), { method: 'DELETE' });
  context.output.result({ deleted: args[0] }, () => `deleted KV namespace ${args[0]}`);
}

/** Of the keys that begin alike. */
async function withKeyGuess(thrown: unknown, api: ControlApi, args: Args): Promise<unknown> {
  const key = args[1] ?? '';
  if (!(thrown instanceof PlatformError) || thrown.code !== 'not_found') return thrown;
  const query = new URLSearchParams({ prefix: key.slice(0, 1), limit: String(KV_LIMITS.listMax) });
  const page = await api
    .call(api.path(`${namespacePath(args)}/keys?${query.toString()}`), kvKeysSchema)
    .catch(() => undefined);
  const guess = didYouMean(
    key,
    (page?.keys ?? []).map(({ name }) => name),
  );
  return guess === '' ? thrown : withDetail(thrown, guess.trim());
}

const LF = 0x0a;

/** The bytes as they are, so that a pipe gets what was put; with --json as text. A terminal gets a line. */
export async function getValue(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  const bytes = await api.bytes(api.path(valuePath(args))).catch(async (thrown: unknown) => {
    throw await withKeyGuess(thrown, api, args);
  });
  if (context.output.json) context.output.result({ value: new TextDecoder().decode(bytes) }, () => '');
  else await new Promise<void>((resolve) => process.stdout.write(bytes, () => resolve()));
  if (!context.output.json && process.stdout.isTTY && bytes.at(-1) !== LF) process.stdout.write('\n');
}

export async function putValue(context: Context, args: Args, given: Record<string, unknown>): Promise<void> {
  const { file, ttl } = putOptions.parse(given);
  const path = valuePath(args);
  if (args[2] !== undefined && file !== undefined) throw usage('Give a value or --file, not both.');
  if (args[2] === undefined && file === undefined) throw usage('Give a value, or --file FILE.');
  const value =
    file === undefined
      ? { value: args[2] }
      : { value: (await readFile(file)).toString('base64'), encoding: 'base64' };
  const { api } = await context.platform();
  await api.send(api.path(path), {
    method: 'PUT',
    json: { ...value, ...(ttl === undefined ? {} : { ttlSeconds: ttl }) },
  });
  context.output.result({ put: args[1] }, () => `put ${args[1]}`);
}

export async function removeValue(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  await api.send(api.path(valuePath(args)), { method: 'DELETE' });
  context.output.result({ removed: args[1] }, () => `removed ${args[1]}`);
}

export async function listKeys(context: Context, args: Args, given: Record<string, unknown>): Promise<void> {
  const { prefix } = keysOptions.parse(given);
  const { api } = await context.platform();
  const keys: z.infer<typeof kvKeysSchema>['keys'] = [];
  let cursor: string | undefined;
  do {
    const query = new URLSearchParams({
      prefix,
      limit: String(KV_LIMITS.listMax),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const page = await api.call(api.path(`${namespacePath(args)}/keys?${query.toString()}`), kvKeysSchema);
    keys.push(...page.keys);
    cursor = page.cursor;
  } while (cursor !== undefined && keys.length < KEYS_SHOWN_MAX);
  context.output.result(keys, () =>
    table(
      ['KEY', 'EXPIRES'],
      keys.map(({ name, expiresAtMs }) => [
        name,
        expiresAtMs === undefined ? '' : whenText(new Date(expiresAtMs).toISOString()),
      ]),
    ),
  );
  if (cursor !== undefined) context.output.note(`the first ${keys.length} keys; narrow it with --prefix`);
}
