/** `isoplane accounts`: for the operator, which is an owner of the account `default`. */
import { accountViewSchema, createAccountSchema, type AccountView } from '#shared/contracts/access.ts';
import { ceilingsSchema, type Ceilings } from '#shared/contracts/ceilings.ts';
import { PlatformError } from '#shared/errors.ts';
import { accountNameSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Context } from '../context.ts';
import { bytesText, whenText } from '../output.ts';
import { table } from '../table.ts';
import { argument, usage } from './arguments.ts';

type Args = readonly string[];

export async function listAccounts(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list('/v1/accounts', accountViewSchema);
  context.output.result(items, () =>
    table(
      ['ACCOUNT', 'CODE', 'ASSETS', 'CEILINGS', 'CREATED'],
      items.map((item) => [
        item.name,
        bytesText(item.stored?.codeBytes ?? 0),
        bytesText(item.stored?.assetBytes ?? 0),
        ceilingsText(item.ceilings),
        whenText(item.createdAt),
      ]),
    ),
  );
}

export async function createAccount(context: Context, args: Args): Promise<void> {
  const body = argument('account', { name: args[0] }, createAccountSchema);
  const { api } = await context.platform();
  const account = await api.call('/v1/accounts', accountViewSchema, { method: 'POST', json: body });
  context.output.result(account, () => `created ${account.name}`);
}

export async function ceilings(
  context: Context,
  args: Args,
  options: Record<string, unknown>,
): Promise<void> {
  const name = argument('account', args[0], accountNameSchema);
  const { api } = await context.platform();
  const path = `/v1/accounts/${name}`;
  const wanted = ceilingsOf(options);
  if (options['clear'] === true && wanted !== undefined) throw usage('Give --clear or ceilings, not both.');
  if (options['clear'] !== true && wanted === undefined) {
    const items = await api.list('/v1/accounts', accountViewSchema);
    const found = items.find((item) => item.name === name);
    if (found === undefined) throw new PlatformError('account_not_found', `no account ${name}`);
    context.output.result(found, () => accountText(found));
    return;
  }
  const account = await api.call(path, accountViewSchema, {
    method: 'PATCH',
    json: { ceilings: wanted ?? null },
  });
  context.output.result(account, () => accountText(account));
}

function ceilingsOf(options: Record<string, unknown>): Ceilings | undefined {
  const given = Object.keys(ceilingsSchema.shape).flatMap((name) =>
    options[name] === undefined ? [] : [[name, options[name]] as const],
  );
  return given.length === 0 ? undefined : argument('ceilings', Object.fromEntries(given), ceilingsSchema);
}

function ceilingsText(set: Ceilings | undefined): string {
  const parts = Object.entries(set ?? {}).map(([name, value]) => `${name} ${String(value)}`);
  return parts.length === 0 ? 'none' : parts.join(', ');
}

function accountText({ name, ceilings: set, stored }: AccountView): string {
  const text = `${name}: ceilings ${ceilingsText(set)}`;
  if (stored === undefined) return text;
  const code = set?.codeBytes ?? LIMITS.codePerAccountBytesDefault;
  const assets = set?.assetBytes ?? LIMITS.assetsPerAccountBytesDefault;
  return `${text}\nkeeps ${bytesText(stored.codeBytes)} of ${bytesText(code)} of code, ${bytesText(stored.assetBytes)} of ${bytesText(assets)} of static assets`;
}
