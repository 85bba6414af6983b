/**
 * Finds the running platform and the key to talk to it: a data folder named on the command line, else the
 * nearest `.isoplane/` from here upward, which is what a person inside a project folder means.
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import type { z } from 'zod';
import {
  credentialsSchema,
  platformFileSchema,
  type Credentials,
  type PlatformFile,
} from '#shared/contracts/credentials.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { CliError, EXIT } from '../failure.ts';

const DATA_FOLDER = '.isoplane';

export interface Connection {
  readonly dataDir: string;
  readonly platform: PlatformFile;
  readonly credentials: Credentials;
}

/** The data folder to use; undefined when none was named and none lies on the way up. */
export async function findDataDir(named: string | undefined, from: string): Promise<string | undefined> {
  const explicit = named ?? process.env['ISOPLANE_DATA_DIR'];
  if (explicit !== undefined && explicit !== '') return resolve(from, explicit);
  let folder = resolve(from);
  for (;;) {
    const candidate = join(folder, DATA_FOLDER);
    // A project's own `.isoplane` (for example dev state) without platform files is passed over.
    if (await isDataFolder(candidate)) return candidate;
    const parent = dirname(folder);
    if (parent === folder) return undefined;
    folder = parent;
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

/** @throws {CliError} `platform_not_found` or `platform_not_running`, each with what to do. */
export async function connect(named: string | undefined, from: string = process.cwd()): Promise<Connection> {
  const dataDir = await findDataDir(named, from);
  if (dataDir === undefined) {
    throw new CliError('platform_not_found', `No ${DATA_FOLDER}/ folder here or in a folder above.`, {
      advice: 'Start the platform with `npm start` (or `isoplane up`), or name its folder with --data DIR.',
      exitCode: EXIT.unreachable,
    });
  }
  const platform = await readJson(join(dataDir, 'platform.json'), platformFileSchema);
  const credentials = await readJson(layoutOf(dataDir).credentials, credentialsSchema);
  if (platform === undefined || credentials === undefined) {
    throw new CliError('platform_not_running', `No platform is running on ${dataDir}.`, {
      advice: `Start it with \`npm start\` (or \`isoplane up --data ${dataDir}\`).`,
      exitCode: EXIT.unreachable,
    });
  }
  await checkKey(layoutOf(dataDir).credentials, credentials);
  return { dataDir, platform, credentials };
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
async function checkKey(path: string, credentials: Credentials): Promise<void> {
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
  const account = connection.credentials.account;
  const label = account === 'default' ? name : `${name}.${account}`;
  const port = url.port === '' ? '' : `:${url.port}`;
  return new URL(`${url.protocol}//${label}.${connection.platform.baseDomain}${port}/`);
}
