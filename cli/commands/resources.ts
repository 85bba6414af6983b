/** functions, versions, aliases: each a call or two of the control API and a table. */
import { cancel, confirm, isCancel } from '@clack/prompts';
import colors from 'picocolors';
import { z } from 'zod';
import {
  aliasViewSchema,
  deploymentViewSchema,
  functionViewSchema,
  setAliasSchema,
  versionViewSchema,
} from '#shared/contracts/api.ts';
import { aliasNameSchema, functionNameSchema, versionNumberSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../failure.ts';
import { whenText } from '../output.ts';
import { table } from '../table.ts';
import { argument, usage } from './arguments.ts';
import { heldLines } from './held.ts';
import { keyNames } from './key-names.ts';
import { notServed, propagationText, waitForPropagation } from './propagation.ts';
import { parseWeights, weightsText } from './weights.ts';

type Args = readonly string[];
type Options = Record<string, unknown>;

const functionPath = (args: Args): string =>
  `/functions/${argument('function', args[0], functionNameSchema)}`;

export async function listFunctions(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path('/functions'), functionViewSchema);
  context.output.result(items, () =>
    table(
      ['FUNCTION', 'LIVE', 'LATEST', 'STATE', 'CREATED'],
      items.map((item) => {
        const live = item.aliases.find((alias) => alias.name === 'live');
        return [
          item.name,
          live === undefined ? '-' : weightsText(live.weights),
          item.latestVersion === undefined ? '-' : String(item.latestVersion),
          item.enabled ? 'enabled' : 'disabled',
          whenText(item.createdAt),
        ];
      }),
    ),
  );
}

export async function showFunction(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  const path = api.path(functionPath(args));
  const view = await api.call(path, functionViewSchema);
  const history = await api.call(
    `${path}/deployments?alias=live`,
    z.object({ items: z.array(deploymentViewSchema) }),
  );
  const nameOf = context.output.json ? String : await keyNames(api);
  context.output.result({ ...view, deployments: history.items }, () =>
    [
      `${colors.bold(view.name)} ${view.enabled ? 'enabled' : 'disabled'}, latest version ${view.latestVersion ?? '-'}`,
      '',
      table(
        ['ALIAS', 'SERVES', 'SINCE'],
        view.aliases.map((alias) => [alias.name, weightsText(alias.weights), whenText(alias.updatedAt)]),
      ),
      ...heldLines(view.held),
      '',
      table(
        ['LIVE SINCE', 'SERVES', 'WHY', 'BY', 'MESSAGE'],
        history.items.map((item) => [
          whenText(item.createdAt),
          weightsText(item.weights),
          item.reason,
          nameOf(item.createdBy),
          item.message ?? '',
        ]),
      ),
    ].join('\n'),
  );
}

async function setEnabled(context: Context, args: Args, enabled: boolean): Promise<void> {
  const { api } = await context.platform();
  const view = await api.call(api.path(functionPath(args)), functionViewSchema, {
    method: 'PATCH',
    json: { enabled },
  });
  context.output.result(view, () => `${view.name} is ${view.enabled ? 'enabled' : 'disabled'}`);
}

export const enableFunction = (context: Context, args: Args): Promise<void> =>
  setEnabled(context, args, true);
export const disableFunction = (context: Context, args: Args): Promise<void> =>
  setEnabled(context, args, false);

export async function deleteFunction(context: Context, args: Args, options: Options): Promise<number | void> {
  const name = argument('function', args[0], functionNameSchema);
  if (options['yes'] !== true) {
    if (!context.output.interactive) throw usage('Deleting needs --yes where nobody can be asked.');
    const answer = await confirm({
      message: `Delete ${name} with all its versions?`,
      initialValue: false,
      output: process.stderr,
    });
    if (isCancel(answer) || !answer) {
      cancel('Nothing was deleted.', { output: process.stderr });
      return EXIT.failed;
    }
  }
  const { api } = await context.platform();
  await api.send(api.path(`/functions/${name}`), { method: 'DELETE' });
  context.output.result({ deleted: name }, () => `deleted ${name}`);
}

export async function versions(context: Context, args: Args, options: Options): Promise<void> {
  const { api } = await context.platform();
  const path = api.path(`${functionPath(args)}/versions`);
  if (options['delete'] !== undefined) {
    const number = argument('--delete', Number(options['delete']), versionNumberSchema);
    await api.send(`${path}/${number}`, { method: 'DELETE' });
    context.output.result({ deleted: number }, () => `deleted version ${number}`);
    return;
  }
  const items = await api.list(path, versionViewSchema);
  const nameOf = context.output.json ? String : await keyNames(api);
  context.output.result(items, () =>
    table(
      ['VERSION', 'DIGEST', 'MODULES', 'CREATED', 'BY', 'MESSAGE'],
      items.map((item) => [
        String(item.number),
        item.digest.slice(0, 12),
        String(item.modules.length),
        whenText(item.createdAt),
        nameOf(item.createdBy),
        item.message ?? '',
      ]),
    ),
  );
}

export async function listAliases(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path(`${functionPath(args)}/aliases`), aliasViewSchema);
  context.output.result(items, () =>
    table(
      ['ALIAS', 'SERVES', 'SINCE'],
      items.map((item) => [item.name, weightsText(item.weights), whenText(item.updatedAt)]),
    ),
  );
}

export async function setAlias(context: Context, args: Args, options: Options): Promise<number> {
  const { output } = context;
  const alias = argument('alias', args[1], aliasNameSchema);
  const body = argument(
    'weights',
    {
      weights: parseWeights(args.slice(2)),
      ...(options['message'] === undefined ? {} : { message: options['message'] }),
    },
    setAliasSchema,
  );
  const { api } = await context.platform();
  const deployment = await api.call(
    api.path(`${functionPath(args)}/aliases/${alias}`),
    deploymentViewSchema,
    {
      method: 'PUT',
      json: body,
    },
  );
  const served =
    options['wait'] === false
      ? undefined
      : await output.step(
          'waiting until it is served',
          () => waitForPropagation(api, deployment.revision),
          propagationText,
        );
  output.result(
    { ...deployment, propagation: served },
    () => `${alias} serves ${weightsText(deployment.weights)}`,
  );
  return served !== undefined && !served.complete ? notServed(context, served) : EXIT.done;
}

export async function deleteAlias(context: Context, args: Args): Promise<void> {
  const alias = argument('alias', args[1], aliasNameSchema);
  const { api } = await context.platform();
  await api.send(api.path(`${functionPath(args)}/aliases/${alias}`), { method: 'DELETE' });
  context.output.result({ deleted: alias }, () => `deleted alias ${alias}`);
  if (alias === 'live')
    context.output.note(
      `${args[0]} answers nowhere but at its other aliases now; \`isoplane aliases set ${args[0]} live VERSION\` brings it back`,
    );
}
