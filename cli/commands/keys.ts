/** `isoplane keys`: who may call the control API and signed functions. */
import process from 'node:process';
import colors from 'picocolors';
import {
  createKeySchema,
  createdKeySchema,
  keyViewSchema,
  type CreatedKey,
} from '#shared/contracts/access.ts';
import { accountNameSchema } from '#shared/ids.ts';
import type { ControlApi } from '../client/api.ts';
import type { Connection } from '../client/connection.ts';
import { keyText } from '../client/key.ts';
import type { Context } from '../context.ts';
import { CliError } from '../failure.ts';
import { didYouMean } from '../guess.ts';
import { whenText } from '../output.ts';
import { tableWithSpare } from '../table.ts';
import { argument, usage } from './arguments.ts';

type Args = readonly string[];
type Options = Record<string, unknown>;

export async function listKeys(context: Context): Promise<void> {
  const { api } = await context.platform();
  const items = await api.list(api.path('/keys'), keyViewSchema);
  context.output.result(items, () =>
    tableWithSpare(
      ['NAME', 'ROLE', 'ALGORITHM', 'FUNCTIONS', 'EXPIRES', 'ID'],
      items.map((item) => [
        item.name,
        item.role,
        item.algorithm,
        item.functions?.join(', ') ?? 'all',
        item.expiresAt === undefined ? 'never' : whenText(item.expiresAt),
        item.id,
      ]),
    ),
  );
}

export async function createKey(context: Context, args: Args, options: Options): Promise<void> {
  const body = argument(
    'key',
    {
      name: args[0],
      role: options['role'],
      algorithm: options['algorithm'],
      ...(options['publicKey'] === undefined ? {} : { publicKey: options['publicKey'] }),
      ...(options['function'] === undefined ? {} : { functions: options['function'] }),
      ...(options['expires'] === undefined ? {} : { expiresAt: options['expires'] }),
    },
    createKeySchema,
  );
  if (body.expiresAt !== undefined && Date.parse(body.expiresAt) <= Date.now())
    throw usage(`--expires: ${body.expiresAt} has passed`);
  const { api, connection } = await context.platform();
  const key = await api.call(api.path('/keys'), createdKeySchema, { method: 'POST', json: body });
  const line = oneLine(key, api.account);
  context.output.result({ ...key, ...(line === undefined ? {} : { isoplaneKey: line }) }, () =>
    forShell([headline(key), '', ...howToUse(key, line, connection)]).join('\n'),
  );
}

const VARIABLE = /^ *(ISOPLANE_[A-Z]+=.*)$/;

/** What goes into a file or a pipe can be read by a shell: all but the variables is a comment there. */
function forShell(lines: readonly string[]): readonly string[] {
  if (process.stdout.isTTY) return lines;
  return lines.map((line) => VARIABLE.exec(line)?.[1] ?? (line === '' ? '' : `# ${line}`));
}

/** The value of ISOPLANE_KEY; undefined when the platform never saw the secret. */
function oneLine(key: CreatedKey, account: string): string | undefined {
  if (key.secret === undefined || key.algorithm === 'token') return key.secret;
  return keyText({
    account: accountNameSchema.parse(account),
    keyId: key.id,
    algorithm: key.algorithm,
    secret: key.secret,
  });
}

function headline(key: CreatedKey): string {
  const reach = key.functions === undefined ? '' : `, for ${key.functions.join(', ')} only`;
  const end = key.expiresAt === undefined ? '' : `, until ${key.expiresAt}`;
  return `key ${colors.bold(key.name)}: ${key.role}${reach}${end}`;
}

const SECRET_FORM = {
  ed25519: 'private key: PKCS #8 DER, base64url without padding',
  'hmac-sha256': 'shared secret: 32 bytes, base64url without padding',
  token: 'bearer token, for the control API only',
} as const;

function howToUse(key: CreatedKey, line: string | undefined, connection: Connection): string[] {
  const values = [
    'To sign with code of your own (`isoplane docs signing`: Python, curl, JavaScript):',
    '',
    `  keyid      ${key.id}`,
    `  algorithm  ${key.algorithm}`,
    ...(key.secret === undefined
      ? ['  secret     the private half of the public key that you gave']
      : [`  secret     ${key.secret}`, colors.dim(`             ${SECRET_FORM[key.algorithm]}`)]),
  ];
  if (line === undefined) return values;
  return [
    'For this command, in CI or elsewhere, set two variables (the second is a secret):',
    '',
    `  ISOPLANE_URL=${connection.platform.controlUrl}`,
    `  ISOPLANE_KEY=${line}`,
    '',
    `or keep it: isoplane login ${connection.platform.controlUrl} (asks for the value of ISOPLANE_KEY)`,
    '',
    ...(key.algorithm === 'token'
      ? [`For other clients of the control API: the header  authorization: Bearer ${line}`]
      : values),
    '',
    colors.yellow('The secret is shown this once: store it now.'),
  ];
}

/** By id, or by a name that one key alone has. */
export async function revokeKey(context: Context, args: Args): Promise<void> {
  const { api } = await context.platform();
  const id = await idOf(api, args[0] ?? '');
  await api.send(api.path(`/keys/${id}`), { method: 'DELETE' });
  context.output.result({ revoked: id }, () => `revoked ${args[0]}${args[0] === id ? '' : ` (${id})`}`);
}

const ID = /^key-[0-9a-z]{1,40}$/;

async function idOf(api: ControlApi, given: string): Promise<string> {
  if (ID.test(given)) return given;
  const keys = await api.list(api.path('/keys'), keyViewSchema);
  const found = keys.filter((key) => key.name === given);
  if (found.length === 1 && found[0] !== undefined) return found[0].id;
  if (found.length > 1)
    throw new CliError('ambiguous', `${found.length} keys are named ${given}.`, {
      advice: `Give the id: ${found.map((key) => key.id).join(', ')}.`,
    });
  const names = keys.map((key) => key.name);
  throw new CliError('key_not_found', `There is no key ${given}.${didYouMean(given, names)}`, {
    advice: '`isoplane keys list` shows names and ids.',
  });
}
