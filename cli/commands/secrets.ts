/** `isoplane secrets`: sealed values, in `env` of a function or on its outbound requests. */
import process from 'node:process';
import { cancel, isCancel, password } from '@clack/prompts';
import { z } from 'zod';
import {
  functionSecretViewSchema,
  putSecretReplySchema,
  putSecretSchema,
  secretViewSchema,
} from '#shared/contracts/access.ts';
import { grantedFunctionsSchema, grantedHostsSchema } from '#shared/contracts/secrets.ts';
import { functionNameSchema, secretNameSchema, type FunctionName } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../failure.ts';
import { whenText } from '../output.ts';
import { table } from '../table.ts';
import { argument, usage } from './arguments.ts';
import { checked, putFunctionSecret } from './secret-values.ts';
import { readStdin } from './stdin.ts';

type Args = readonly string[];
type Given = Record<string, unknown>;

const optionsSchema = z.object({
  function: z.string().optional(),
  forFunction: z.array(z.string()).optional(),
  forHost: z.array(z.string()).optional(),
  unbound: z.boolean().default(false),
});

const nameOf = (args: Args): string => argument('secret', args[0], secretNameSchema);

function functionOf(given: Given): FunctionName | undefined {
  const { function: name } = optionsSchema.parse(given);
  return name === undefined ? undefined : argument('--function', name, functionNameSchema);
}

export async function listSecrets(context: Context, _args: Args, given: Given): Promise<void> {
  const { api } = await context.platform();
  const functionName = functionOf(given);
  if (functionName !== undefined) {
    const own = await api.list(api.path(`/functions/${functionName}/secrets`), functionSecretViewSchema);
    return context.output.result(own, () =>
      table(
        ['SECRET', 'UPDATED'],
        own.map((item) => [item.name, whenText(item.updatedAt)]),
      ),
    );
  }
  const items = await api.list(api.path('/secrets'), secretViewSchema);
  context.output.result(items, () =>
    table(
      ['SECRET', 'UPDATED', 'FUNCTIONS', 'HOSTS'],
      items.map((item) => [
        item.name,
        whenText(item.updatedAt),
        item.functions?.join(' ') ?? 'all',
        item.hosts?.join(' ') ?? 'any',
      ]),
    ),
  );
}

/** Never from an argument: those are in the shell's history and in every process list. */
async function readValue(context: Context, name: string): Promise<string | undefined> {
  if (!context.output.interactive) return readStdin(`The value of ${name}`);
  const answer = await password({
    message: `Value of ${name}`,
    output: process.stderr,
    validate: (given) => (given === undefined || given === '' ? 'Type a value, or Ctrl-C.' : undefined),
  });
  return isCancel(answer) ? undefined : answer;
}

export async function putSecret(context: Context, args: Args, given: Given): Promise<number | void> {
  const name = nameOf(args);
  const functionName = functionOf(given);
  const scope = scopeOf(given, functionName);
  const value = await readValue(context, name);
  if (value === undefined) {
    cancel('Nothing was changed.', { output: process.stderr });
    return EXIT.failed;
  }
  const { api } = await context.platform();
  if (functionName !== undefined) {
    const reply = await putFunctionSecret(api, functionName, name, value);
    return context.output.result(reply, () =>
      reply.functionExists
        ? `${name} is set; new instances of ${functionName} have it as env.${name}, and those that run are replaced`
        : `${name} is set; ${functionName} does not exist yet, and will have it as env.${name} from its first deploy on`,
    );
  }
  const reply = await api.call(api.path(`/secrets/${name}`), putSecretReplySchema, {
    method: 'PUT',
    json: checked(putSecretSchema, { value, ...scope }, 'value'),
  });
  context.output.result(
    reply,
    () => `${name} is set for the account; functions that use it follow without a deployment`,
  );
}

function scopeOf(given: Given, functionName: FunctionName | undefined) {
  const { forFunction, forHost, unbound } = optionsSchema.parse(given);
  if (functionName !== undefined && (forFunction !== undefined || forHost !== undefined || unbound))
    throw usage(
      '--for-function, --for-host and --unbound are for secrets of the account, without --function',
    );
  if (unbound && (forFunction !== undefined || forHost !== undefined))
    throw usage('--unbound removes what --for-function and --for-host set');
  if (unbound) return { functions: null, hosts: null };
  return {
    ...(forFunction === undefined
      ? {}
      : { functions: argument('--for-function', forFunction, grantedFunctionsSchema) }),
    ...(forHost === undefined ? {} : { hosts: argument('--for-host', forHost, grantedHostsSchema) }),
  };
}

export async function deleteSecret(context: Context, args: Args, given: Given): Promise<void> {
  const name = nameOf(args);
  const functionName = functionOf(given);
  const { api } = await context.platform();
  const path = functionName === undefined ? `/secrets/${name}` : `/functions/${functionName}/secrets/${name}`;
  await api.send(api.path(path), { method: 'DELETE' });
  context.output.result({ deleted: name }, () => `deleted ${name}`);
}
