/** `isoplane secrets`: values that the platform adds to outbound requests and functions never see. */
import process from 'node:process';
import { cancel, isCancel, password } from '@clack/prompts';
import { putSecretReplySchema, putSecretSchema, secretViewSchema } from '#shared/contracts/api.ts';
import { secretNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../failure.ts';
import { whenText } from '../output.ts';
import { table } from '../table.ts';
import { argument, usage } from './arguments.ts';
import { readStdin } from './stdin.ts';

type Args = readonly string[];

const nameOf = (args: Args): string => argument('secret', args[0], secretNameSchema);

export async function listSecrets(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path('/secrets'), secretViewSchema);
  context.output.result(items, () =>
    table(
      ['SECRET', 'UPDATED'],
      items.map((item) => [item.name, whenText(item.updatedAt)]),
    ),
  );
}

/** Never from an argument: those are in the shell's history and in every process list. */
async function readValue(context: Context, name: string): Promise<string | undefined> {
  if (!context.output.interactive) return readStdin();
  const answer = await password({ message: `Value of ${name}`, output: process.stderr });
  return isCancel(answer) ? undefined : answer;
}

export async function putSecret(context: Context, args: Args): Promise<number | void> {
  const name = nameOf(args);
  const value = await readValue(context, name);
  if (value === undefined) {
    cancel('Nothing was changed.', { output: process.stderr });
    return EXIT.failed;
  }
  const body = putSecretSchema.safeParse({ value });
  // Says the law alone: what was given is a secret even when it is refused.
  if (!body.success) throw usage(`value: ${body.error.issues.map((issue) => issue.message).join('; ')}`);
  const { api } = await context.platform();
  const reply = await api.call(api.path(`/secrets/${name}`), putSecretReplySchema, {
    method: 'PUT',
    json: body.data,
  });
  context.output.result(reply, () => `${name} is set; functions that use it follow without a deployment`);
}

export async function deleteSecret(context: Context, args: Args): Promise<void> {
  const name = nameOf(args);
  const { api } = await context.platform();
  await api.send(api.path(`/secrets/${name}`), { method: 'DELETE' });
  context.output.result({ deleted: name }, () => `deleted ${name}`);
}
