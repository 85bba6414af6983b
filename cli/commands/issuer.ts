/** `isoplane accounts issuer`: whose tokens the account's jwt functions accept when they name no keys themselves. */
import { readFile } from 'node:fs/promises';
import { accountViewSchema, patchAccountSchema, type AccountView } from '#shared/contracts/access.ts';
import type { Context } from '../context.ts';
import { argument, usage } from './arguments.ts';

type Args = readonly string[];

export async function showIssuer(context: Context): Promise<void> {
  const { api } = await context.platform();
  const account = await api.call(api.path(''), accountViewSchema);
  context.output.result(account.issuer ?? null, () => issuerText(account));
}

export async function setIssuer(context: Context, args: Args): Promise<void> {
  const path = args[1] ?? '';
  const body = argument(
    'issuer',
    { issuer: { issuer: args[0], jwks: await readKeySet(path) } },
    patchAccountSchema,
  );
  const { api } = await context.platform();
  const account = await api.call(api.path(''), accountViewSchema, { method: 'PATCH', json: body });
  context.output.result(account.issuer ?? null, () => issuerText(account));
}

export async function removeIssuer(context: Context): Promise<void> {
  const { api } = await context.platform();
  const account = await api.call(api.path(''), accountViewSchema, {
    method: 'PATCH',
    json: { issuer: null },
  });
  context.output.result(account.issuer ?? null, () => issuerText(account));
}

function issuerText(account: AccountView): string {
  if (account.issuer === undefined) return `account ${account.name} has no issuer`;
  const keys = account.issuer.jwks.keys.map((key) => key.kid ?? key.kty).join(', ');
  return `account ${account.name} accepts tokens of ${account.issuer.issuer} (keys: ${keys})`;
}

const PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth'];

async function readKeySet(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    throw usage(`The key set ${path} cannot be read (${thrown.code ?? 'unknown cause'}).`);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw usage(`${path} is not JSON: a key set is { "keys": [ … ] } (RFC 7517).`);
  }
  const keys: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'keys') : undefined;
  for (const key of Array.isArray(keys) ? keys : []) {
    const kept = PRIVATE.filter((member) => typeof key === 'object' && key !== null && member in key);
    if (kept.length > 0)
      throw usage(`${path} holds a private key (${kept.join(', ')}): give the public half alone.`);
  }
  // A single key is what many tools write.
  return keys === undefined && typeof value === 'object' && value !== null && 'kty' in value
    ? { keys: [value] }
    : value;
}
