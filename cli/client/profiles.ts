/**
 * Platforms that `isoplane login` remembers, by name: `profiles.json` in the user's configuration folder
 * (XDG_CONFIG_HOME, else ~/.config), mode 0600 because it holds keys.
 */
import { chmod, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { z } from 'zod';
import { nameSchema } from '#shared/ids.ts';
import { CliError } from '../failure.ts';

const profileSchema = z.strictObject({
  /** Of the control API. */
  url: z.url(),
  /** Where functions answer; absent when the platform's own word is good. */
  gatewayUrl: z.url().optional(),
  /** As in key.ts. */
  key: z.string(),
});
const profilesSchema = z.strictObject({
  /** Used where nothing else names a platform. */
  current: nameSchema.optional(),
  profiles: z.record(nameSchema, profileSchema),
});

export type Profiles = z.infer<typeof profilesSchema>;

export function profilesPath(environment: NodeJS.ProcessEnv = process.env): string {
  const base = environment['XDG_CONFIG_HOME'];
  // Relative paths there are to be ignored (XDG Base Directory Specification).
  return join(
    base?.startsWith('/') === true ? base : join(homedir(), '.config'),
    'isoplane',
    'profiles.json',
  );
}

/** @throws {CliError} `file_invalid`, or `file_insecure` when others may read the keys. */
export async function readProfiles(path: string = profilesPath()): Promise<Profiles> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0)
      throw new CliError('file_insecure', `${path} holds keys and can be read by other users.`, {
        advice: `Run \`chmod 600 ${path}\`.`,
      });
  } catch (thrown) {
    if (Reflect.get(thrown as object, 'code') === 'ENOENT') return { profiles: {} };
    throw thrown;
  }
  try {
    return profilesSchema.parse(JSON.parse(text));
  } catch {
    // Not as its cause: it might quote the keys.
    throw new CliError('file_invalid', `${path} does not hold what \`isoplane login\` writes there.`, {
      advice: 'Move the file away and log in again.',
    });
  }
}

export async function writeProfiles(profiles: Profiles, path: string = profilesPath()): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify(profiles, undefined, 2)}\n`, { mode: 0o600 });
  // Whatever the umask made of it.
  await chmod(draft, 0o600);
  await rename(draft, path);
}
