/** `isoplane login`, `logout`, `whoami`, `profiles`: platforms elsewhere, and who one is there. */
import process from 'node:process';
import { cancel, isCancel, password, text } from '@clack/prompts';
import colors from 'picocolors';
import type { Whoami } from '#shared/contracts/access.ts';
import { PlatformError } from '#shared/errors.ts';
import { nameSchema } from '#shared/ids.ts';
import { checkedUrl, gatewayOf, isLoopback, readKeyFile, whoami as askWhoami } from '../client/connection.ts';
import { keyText, parseKey, type AccessKey } from '../client/key.ts';
import { profilesPath, readProfiles, writeProfiles, type Profiles } from '../client/profiles.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import { didYouMean } from '../guess.ts';
import { table } from '../table.ts';
import { argument, usage } from './arguments.ts';
import { readStdin } from './stdin.ts';

type Args = readonly string[];
type Options = Record<string, unknown>;

const DEFAULT_PROFILE = 'default';

export async function login(context: Context, args: Args, options: Options): Promise<number> {
  const name = argument('profile', context.options.profile ?? DEFAULT_PROFILE, nameSchema);
  const given = args[0] ?? process.env['ISOPLANE_URL'] ?? (await ask(context, 'URL of the control API'));
  if (given === undefined) return cancelled();
  const url = checkedUrl(given, 'URL');
  const gateway =
    typeof options['gateway'] === 'string' ? checkedUrl(options['gateway'], '--gateway') : undefined;
  const key = await keyFor(context, options['keyFile']);
  if (key === undefined) return cancelled();
  if (key.kind === 'token' && url.startsWith('http:') && !isLoopback(new URL(url).hostname))
    context.output.warn('the token travels in the clear over http://; use https:// or a key that signs');
  const me = await askWhoami({ controlUrl: url, key, remote: true }).catch((thrown: unknown) => {
    if (isGatewaysAnswer(thrown)) throw gatewayInstead(url, thrown);
    throw thrown;
  });
  const before = await readProfiles();
  await writeProfiles({
    current: name,
    profiles: {
      ...before.profiles,
      [name]: {
        url,
        ...(gateway === undefined ? {} : { gatewayUrl: gateway }),
        key: key.kind === 'token' ? key.token : keyText(key.credentials),
      },
    },
  });
  const gatewayUrl = gatewayOf(url, gateway, me.gateway);
  context.output.result({ profile: name, url, gatewayUrl, ...me }, () =>
    [
      `logged in to ${colors.cyan(url)}: ${identity(me)}`,
      `functions answer at ${functionsAt(gatewayUrl, me)}`,
      colors.dim(`kept as profile ${name} in ${profilesPath()}`),
    ].join('\n'),
  );
  return EXIT.done;
}

/** Only a gateway looks for a function at an address. */
const isGatewaysAnswer = (thrown: unknown): boolean =>
  thrown instanceof PlatformError && thrown.code === 'function_not_found';

function gatewayInstead(url: string, cause: unknown): CliError {
  return new CliError(
    'not_control',
    `${url} is a gateway, where functions answer; keys are for the control API.`,
    {
      advice:
        'Give the address of the control API: on the machine of the platform that is port 8788 (`isoplane status` says it), elsewhere what its operator named, like https://control.example.com.',
      cause,
    },
  );
}

/** From a file, the environment, a person, or stdin; never from an argument, which every process list shows. */
async function keyFor(context: Context, file: unknown): Promise<AccessKey | undefined> {
  if (typeof file === 'string') return readKeyFile(file);
  const fromEnvironment = process.env['ISOPLANE_KEY'];
  if (fromEnvironment !== undefined && fromEnvironment !== '')
    return parseKey(fromEnvironment, 'ISOPLANE_KEY');
  const fileFromEnvironment = process.env['ISOPLANE_KEY_FILE'];
  if (fileFromEnvironment !== undefined && fileFromEnvironment !== '')
    return readKeyFile(fileFromEnvironment);
  if (!context.output.interactive) return parseKey(await readStdin('The key'), 'stdin');
  const answer = await password({
    message: 'Key (as `isoplane keys create NAME` printed it after ISOPLANE_KEY=)',
    output: process.stderr,
  });
  return isCancel(answer) ? undefined : parseKey(answer, 'what was typed');
}

async function ask(context: Context, message: string): Promise<string | undefined> {
  if (!context.output.interactive) throw usage('Name the platform: isoplane login URL');
  const answer = await text({ message, placeholder: 'https://control.example.com', output: process.stderr });
  return isCancel(answer) ? undefined : answer;
}

function cancelled(): number {
  cancel('Nothing was kept.', { output: process.stderr });
  return EXIT.failed;
}

function identity({ account, key }: Whoami): string {
  const reach = key.functions === undefined ? '' : ` for ${key.functions.join(', ')}`;
  return `key ${colors.bold(key.name)} (${key.role}${reach}) of account ${account}`;
}

function functionsAt(gatewayUrl: string, me: Whoami): string {
  const { protocol, port } = new URL(gatewayUrl);
  const account = me.account === 'default' ? '' : `.${me.account}`;
  return `${protocol}//NAME${account}.${me.gateway.baseDomain}${port === '' ? '' : `:${port}`}/`;
}

export async function whoami(context: Context): Promise<void> {
  const { connection } = await context.platform();
  const me = await askWhoami(connection);
  const { controlUrl, gatewayUrl } = connection.platform;
  context.output.result({ controlUrl, gatewayUrl, ...me }, () =>
    [
      identity(me),
      `at ${colors.cyan(controlUrl)}${connection.dataDir === undefined ? '' : ` (data folder ${connection.dataDir})`}`,
      `functions answer at ${functionsAt(gatewayUrl, me)}`,
    ].join('\n'),
  );
}

export async function logout(context: Context): Promise<void> {
  const before = await readProfiles();
  const name = context.options.profile ?? before.current ?? DEFAULT_PROFILE;
  requireProfile(before, name);
  const { [name]: _, ...profiles } = before.profiles;
  const { current, ...rest } = before;
  await writeProfiles({
    ...rest,
    profiles,
    ...(current === undefined || current === name ? {} : { current }),
  });
  const chosen = current === name ? undefined : current;
  const left = Object.keys(profiles);
  context.output.result({ removed: name }, () =>
    [
      `forgot profile ${name}; the key itself still works until it is revoked`,
      ...(chosen === undefined && left.length > 0
        ? [
            `no profile is chosen now: \`isoplane profiles use ${left.length === 1 ? left[0] : 'NAME'}\` chooses one`,
          ]
        : []),
    ].join('\n'),
  );
}

export async function listProfiles(context: Context): Promise<void> {
  const { current, profiles } = await readProfiles();
  const items = Object.entries(profiles).map(([name, { url }]) => ({ name, url, current: name === current }));
  context.output.result(items, () =>
    table(
      ['PROFILE', 'URL', 'CURRENT'],
      items.map((item) => [item.name, item.url, item.current ? 'yes' : '']),
    ),
  );
}

export async function useProfile(context: Context, args: Args): Promise<void> {
  const name = args[0] ?? '';
  const profiles = await readProfiles();
  requireProfile(profiles, name);
  await writeProfiles({ ...profiles, current: nameSchema.parse(name) });
  context.output.result({ current: name }, () => `${name} is the current profile`);
}

function requireProfile({ profiles }: Profiles, name: string): void {
  if (Object.hasOwn(profiles, name)) return;
  throw new CliError(
    'profile_not_found',
    `There is no profile ${name}.${didYouMean(name, Object.keys(profiles))}`,
    {
      advice: '`isoplane profiles list` shows what exists; `isoplane login URL --profile NAME` makes one.',
      exitCode: EXIT.usage,
    },
  );
}
