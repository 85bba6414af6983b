/** `isoplane accept-data-loss`: what the database lost is lost, and the next start goes on without it. */
import { confirm, isCancel } from '@clack/prompts';
import { stat } from 'node:fs/promises';
import process from 'node:process';
import { z } from 'zod';
import { acceptLoss, markPath, readMark } from '#control/db/mark.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { findDataDir } from '../client/connection.ts';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';

const optionsSchema = z.object({ yes: z.boolean().default(false) });

export async function acceptDataLoss(
  context: Context,
  _args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const { yes } = optionsSchema.parse(given);
  const dataDir = await findDataDir(context.options.data, process.cwd());
  if (dataDir === undefined)
    throw new CliError('usage', 'there is no data folder here or above', {
      exitCode: EXIT.usage,
      advice: 'name it with --data DIR',
    });
  const { database } = layoutOf(dataDir);
  if (!(await isFolder(dataDir)))
    throw new CliError('folder_unreadable', `${dataDir} is no data folder: there is no such folder.`, {
      exitCode: EXIT.usage,
      advice: 'Name that of the platform with --data DIR.',
    });
  const { revision } = await readMark(markPath(database));
  const message = `Go on with ${database} as it is? Changes up to revision ${revision} that it lacks are gone for good, and what runs with them is replaced.`;
  if (!yes) {
    if (!context.output.interactive)
      throw new CliError('usage', 'nobody can be asked here', { exitCode: EXIT.usage, advice: 'say --yes' });
    const answer = await confirm({ message, initialValue: false, output: process.stderr });
    if (isCancel(answer) || !answer) return EXIT.failed;
  }
  await acceptLoss(database);
  context.output.result(
    { dataDir, revision, accepted: true },
    () => 'the next start of the platform goes on',
  );
  return EXIT.done;
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
