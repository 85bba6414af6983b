/** `isoplane accounts issuer`: whose tokens the account's jwt functions accept when they name no keys themselves. */
import { readFile } from 'node:fs/promises';
import { accountViewSchema, patchAccountSchema, type AccountView } from '#shared/contracts/access.ts';
import type { Context } from '../context.ts';
import { isLoopback } from '../client/connection.ts';
import { CliError } from '../failure.ts';
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
  const before = await api.call(api.path(''), accountViewSchema);
  const account = await api.call(api.path(''), accountViewSchema, { method: 'PATCH', json: body });
  context.output.result(account.issuer ?? null, () => issuerText(account));
  for (const warning of lost(before.issuer, account.issuer)) context.output.warn(warning);
  if (isUrl(path))
    context.output.note(
      `the keys were read once: when the issuer changes them, repeat this command (\`isoplane accounts issuer set ${args[0]} ${path}\`)`,
    );
}

/** Whose tokens were accepted before, and are no more. */
function lost(before: AccountView['issuer'], after: AccountView['issuer']): readonly string[] {
  if (before === undefined) return [];
  if (before.issuer !== after?.issuer)
    return [
      `an account has one issuer: tokens of ${before.issuer} are refused from now on; a function that is to accept them names it and its keys in \`auth\``,
    ];
  const kept = new Set(after.jwks.keys.map(({ kid }) => kid));
  const gone = before.jwks.keys.map(({ kid }) => kid).filter((kid) => kid !== undefined && !kept.has(kid));
  return gone.length === 0
    ? []
    : [`tokens signed by ${gone.join(', ')} are refused from now on: the set does not hold it any more`];
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

const isUrl = (place: string): boolean => /^https?:\/\//i.test(place);

const FETCH_MS_MAX = 10_000;
const KEY_SET_BYTES_MAX = 1_048_576;

/** Over TLS, or from this machine: who can change the answer decides whose tokens are accepted. */
async function fetchKeySet(given: string): Promise<string> {
  const url = new URL(given);
  if (url.protocol !== 'https:' && !isLoopback(url.hostname))
    throw usage(
      `${given}: a key set is fetched over https:// alone, since whoever answers decides whose tokens count.`,
    );
  const refuse = (why: string): never => {
    throw new CliError('jwks_unreachable', `The key set at ${given} cannot be fetched: ${why}.`, {
      advice: 'Save it as a file where it can be had, and give that: curl -fsS URL > jwks.json',
    });
  };
  try {
    const response = await fetch(url, {
      headers: { accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(FETCH_MS_MAX),
    });
    if (!response.ok) return refuse(`the answer is ${response.status}`);
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of response.body ?? []) {
      chunks.push(chunk as Uint8Array);
      bytes += (chunk as Uint8Array).byteLength;
      if (bytes > KEY_SET_BYTES_MAX) return refuse(`it has more than ${KEY_SET_BYTES_MAX} bytes`);
    }
    return Buffer.concat(chunks).toString('utf8');
  } catch (thrown) {
    if (thrown instanceof CliError) throw thrown;
    const { message, cause } = thrown as Error;
    return refuse(cause instanceof Error && cause.message !== '' ? cause.message : message);
  }
}

async function readKeySet(path: string): Promise<unknown> {
  const text = isUrl(path)
    ? await fetchKeySet(path)
    : await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
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
