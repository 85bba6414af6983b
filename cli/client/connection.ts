/**
 * Finds the platform to talk to and the key for it.
 *
 * The platform, first match: `--data DIR` · `--profile NAME` · ISOPLANE_URL · ISOPLANE_PROFILE ·
 * ISOPLANE_DATA_DIR · the nearest `.isoplane/` from here upward, which is what a person inside a project
 * folder means · the profile of the last `isoplane login`. The key: ISOPLANE_KEY or ISOPLANE_KEY_FILE, else
 * what belongs to the platform found.
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import type { z } from 'zod';
import { whoamiSchema, type Whoami } from '#shared/contracts/access.ts';
import { credentialsSchema, platformFileSchema, type PlatformFile } from '#shared/contracts/credentials.ts';
import { accountNameSchema, type AccountName } from '#shared/ids.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { layoutOf, STATE_FOLDER } from '#shared/runtime/layout.node.ts';
import { argument, usage } from '../commands/arguments.ts';
import { CliError, EXIT } from '../failure.ts';
import { didYouMean } from '../guess.ts';
import { callControl, type Endpoint } from './call.ts';
import { parseKey, type AccessKey } from './key.ts';
import { readProfiles } from './profiles.ts';

export interface Connection extends Endpoint {
  /** Only for a platform whose data folder is here. */
  readonly dataDir?: string;
  readonly platform: {
    readonly controlUrl: string;
    readonly gatewayUrl: string;
    readonly baseDomain: string;
  };
  readonly account: AccountName;
}

/** What names a platform and an account on the command line. */
export interface Named {
  readonly data?: string;
  readonly profile?: string;
  readonly account?: string;
}

/**
 * The data folder to use; undefined when none was named and none lies on the way up. The nearest on which a
 * platform runs: a folder that a platform has left must not hide one that serves further up.
 */
export async function findDataDir(named: string | undefined, from: string): Promise<string | undefined> {
  const explicit = named ?? setting('ISOPLANE_DATA_DIR');
  if (explicit !== undefined && explicit !== '') return resolve(from, explicit);
  let nearest: string | undefined;
  let folder = resolve(from);
  for (;;) {
    const candidate = join(folder, STATE_FOLDER);
    if ((await runningPlatform(candidate)) !== undefined) return candidate;
    // A project's own `.isoplane` (for example dev state) without platform files is passed over.
    if (nearest === undefined && (await isDataFolder(candidate))) nearest = candidate;
    const parent = dirname(folder);
    if (parent === folder) return nearest;
    folder = parent;
  }
}

/** The platform that runs there: its file names a process that lives. What cannot be read decides nothing. */
export async function runningPlatform(dataDir: string): Promise<PlatformFile | undefined> {
  try {
    const file = await readFile(layoutOf(dataDir).platformFile, 'utf8');
    const platform = platformFileSchema.parse(JSON.parse(file));
    return isAlive(platform.pid) ? platform : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    // EPERM: it lives, and belongs to somebody else.
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function isDataFolder(path: string): Promise<boolean> {
  for (const name of ['platform.json', 'credentials.json', 'lock.db']) {
    if (
      await stat(join(path, name)).then(
        () => true,
        () => false,
      )
    )
      return true;
  }
  return false;
}

/** Empty counts as absent: that is how CI passes on a secret that it does not have. */
function setting(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}

/** @throws {CliError} with what to do: `platform_not_found`, `platform_not_running`, `not_logged_in`. */
export async function connect(named: Named, from: string = process.cwd()): Promise<Connection> {
  const account = argument(
    'account',
    named.account ?? setting('ISOPLANE_ACCOUNT'),
    accountNameSchema.optional(),
  );
  const place = await findPlatform(named, from);
  return place.kind === 'local'
    ? connectLocally(place.dataDir, account)
    : connectRemotely(place.remote, account);
}

/** `isoplane profiles list` shows all. */
const PROFILES_SHOWN = 10;

interface Remote {
  readonly url: string;
  readonly gatewayUrl?: string | undefined;
  /** Of the profile. */
  readonly key?: string | undefined;
  readonly label: string;
}

async function findPlatform(
  named: Named,
  from: string,
): Promise<{ kind: 'local'; dataDir: string } | { kind: 'remote'; remote: Remote }> {
  if (named.data !== undefined && named.profile !== undefined)
    throw usage('Give --data or --profile, not both.');
  const local = (dataDir: string) => ({ kind: 'local', dataDir }) as const;
  const profile = async (name: string) => ({ kind: 'remote', remote: await profileNamed(name) }) as const;
  if (named.data !== undefined) return local(resolve(from, named.data));
  if (named.profile !== undefined) return profile(named.profile);
  const url = setting('ISOPLANE_URL');
  if (url !== undefined)
    return {
      kind: 'remote',
      remote: { url: checkedUrl(url, 'ISOPLANE_URL'), label: 'ISOPLANE_URL', gatewayUrl: gatewaySetting() },
    };
  const chosen = setting('ISOPLANE_PROFILE');
  if (chosen !== undefined) return profile(chosen);
  const dataDir = await findDataDir(undefined, from);
  if (dataDir !== undefined) return local(dataDir);
  const { current, profiles } = await readProfiles();
  if (current !== undefined) return profile(current);
  const known = Object.keys(profiles);
  if (known.length > 0)
    throw new CliError(
      'platform_not_found',
      `No profile is chosen, and there is no ${STATE_FOLDER}/ folder here or in a folder above.`,
      {
        advice: `Choose one with \`isoplane profiles use NAME\`, or with --profile NAME for one command; there is ${known.slice(0, PROFILES_SHOWN).join(', ')}.`,
        exitCode: EXIT.unreachable,
      },
    );
  throw new CliError('platform_not_found', `No ${STATE_FOLDER}/ folder here or in a folder above.`, {
    advice:
      'Start a platform with `npx isoplane up` (in the repository: `npm start`), name its folder with --data DIR, or log in to one elsewhere: `isoplane login URL` (in CI: ISOPLANE_URL and ISOPLANE_KEY).',
    exitCode: EXIT.unreachable,
  });
}

async function profileNamed(name: string): Promise<Remote> {
  const { profiles } = await readProfiles();
  const found = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  if (found === undefined)
    throw new CliError(
      'profile_not_found',
      `There is no profile ${name}.${didYouMean(name, Object.keys(profiles))}`,
      {
        advice: `\`isoplane login URL --profile ${name}\` makes it; \`isoplane profiles list\` shows what exists.`,
        exitCode: EXIT.usage,
      },
    );
  return {
    url: found.url,
    gatewayUrl: gatewaySetting() ?? found.gatewayUrl,
    key: found.key,
    label: `profile ${name}`,
  };
}

function gatewaySetting(): string | undefined {
  const url = setting('ISOPLANE_GATEWAY_URL');
  return url === undefined ? undefined : checkedUrl(url, 'ISOPLANE_GATEWAY_URL');
}

/** The origin: paths belong to the API. */
export function checkedUrl(text: string, label: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw usage(`${label}: give a URL like https://control.example.com (given: ${JSON.stringify(text)})`);
  if (url.username !== '' || url.pathname !== '/' || url.search !== '')
    throw usage(`${label}: give the origin alone, without user, path or query: ${url.origin}`);
  return url.origin;
}

/** Undefined when neither variable is set. */
async function keyFromEnvironment(): Promise<AccessKey | undefined> {
  const text = setting('ISOPLANE_KEY');
  const file = setting('ISOPLANE_KEY_FILE');
  if (text !== undefined && file !== undefined)
    throw usage('Set ISOPLANE_KEY or ISOPLANE_KEY_FILE, not both.');
  if (text !== undefined) return parseKey(text, 'ISOPLANE_KEY');
  return file === undefined ? undefined : readKeyFile(file);
}

export async function readKeyFile(path: string): Promise<AccessKey> {
  const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    throw usage(`The key file ${path} cannot be read (${thrown.code ?? 'unknown cause'}).`);
  });
  return parseKey(text, path);
}

async function connectRemotely(remote: Remote, wanted: AccountName | undefined): Promise<Connection> {
  const key =
    (await keyFromEnvironment()) ??
    (remote.key === undefined ? undefined : await parseKey(remote.key, remote.label));
  if (key === undefined)
    throw new CliError('not_logged_in', `There is no key for ${remote.url}.`, {
      advice: `Set ISOPLANE_KEY or ISOPLANE_KEY_FILE to a key that \`isoplane keys create NAME --role deployer\` made, or run \`isoplane login ${remote.url}\`.`,
      exitCode: EXIT.unreachable,
    });
  const endpoint: Endpoint = { controlUrl: remote.url, key, remote: true };
  const me = await whoami(endpoint);
  return {
    ...endpoint,
    account: wanted ?? me.account,
    platform: {
      controlUrl: remote.url,
      baseDomain: me.gateway.baseDomain,
      gatewayUrl: gatewayOf(remote.url, remote.gatewayUrl, me.gateway),
    },
  };
}

export function whoami(endpoint: Endpoint): Promise<Whoami> {
  return callControl(endpoint, '/v1/whoami', whoamiSchema);
}

/**
 * Where functions answer, seen from here. The platform knows its own address only, which is loopback behind a
 * TLS terminator: then the functions' domain, with the scheme of the control API, is meant.
 */
export function gatewayOf(controlUrl: string, given: string | undefined, said: Whoami['gateway']): string {
  if (given !== undefined) return given;
  const control = new URL(controlUrl);
  const own = said.url === undefined ? undefined : new URL(said.url);
  if (own !== undefined && (isLoopback(control.hostname) || !isLoopback(own.hostname))) return own.origin;
  const host = said.baseDomain === 'localhost' ? control.hostname : said.baseDomain;
  if (control.protocol === 'https:' || own === undefined) return `${control.protocol}//${host}`;
  return `http://${host}:${own.port === '' ? '80' : own.port}`;
}

export function isLoopback(hostname: string): boolean {
  return /^(?:localhost|.*\.localhost|127(?:\.\d+){3}|\[::1\]|0\.0\.0\.0|\[::\])$/.test(hostname);
}

async function connectLocally(dataDir: string, wanted: AccountName | undefined): Promise<Connection> {
  const { credentials: credentialsPath, platformFile } = layoutOf(dataDir);
  const platform = await readJson(platformFile, platformFileSchema);
  const notRunning = (): CliError =>
    new CliError('platform_not_running', `No platform is running on ${dataDir}.`, {
      advice: `Start it with \`npx isoplane up --data ${dataDir}\` (in the repository: \`npm start\`).`,
      exitCode: EXIT.unreachable,
    });
  if (platform === undefined) throw notRunning();
  const connectionOf = (key: AccessKey, account: AccountName): Connection => ({
    dataDir,
    platform,
    controlUrl: platform.controlUrl,
    key,
    remote: false,
    account: wanted ?? account,
  });
  const key = await keyFromEnvironment();
  if (key?.kind === 'token') {
    const me = await whoami({ controlUrl: platform.controlUrl, key, remote: false });
    return connectionOf(key, me.account);
  }
  if (key !== undefined) return connectionOf(key, key.credentials.account);
  const credentials = await readJson(credentialsPath, credentialsSchema);
  if (credentials === undefined) throw notRunning();
  await checkKey(credentialsPath, credentials);
  return connectionOf({ kind: 'signing', credentials }, credentials.account);
}

async function readJson<S extends z.ZodType>(path: string, schema: S): Promise<z.infer<S> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    if (Reflect.get(thrown as object, 'code') === 'ENOENT') return undefined;
    throw new CliError('file_unreadable', `${path} cannot be read.`, {
      advice: 'The file belongs to the user who runs the platform: run the command as that user.',
      cause: thrown,
    });
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (thrown) {
    throw new CliError('file_invalid', `${path} does not hold what the platform writes there.`, {
      advice: 'Move the file away and restart the platform; it writes the file anew.',
      cause: thrown,
    });
  }
}

/** A file whose key is damaged looks right until the first signature. */
async function checkKey(path: string, credentials: z.infer<typeof credentialsSchema>): Promise<void> {
  try {
    await importSigningKey(credentials);
  } catch (thrown) {
    throw new CliError('file_invalid', `The key in ${path} is damaged.`, {
      advice:
        'Put back a copy of the file; or move it away and restart the platform, which then makes a new owner key.',
      cause: thrown,
    });
  }
}

/** Where a function answers: `http://hello.localhost:8787/`. */
export function functionUrl(connection: Connection, name: string): URL {
  const url = new URL(connection.platform.gatewayUrl);
  const label = connection.account === 'default' ? name : `${name}.${connection.account}`;
  const port = url.port === '' ? '' : `:${url.port}`;
  return new URL(`${url.protocol}//${label}.${connection.platform.baseDomain}${port}/`);
}
