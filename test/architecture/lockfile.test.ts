/** Goal: `npm ci` accepts the lockfile everywhere. Method: the script that completes it finds nothing to add. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { test } from 'vitest';
import { repositoryRoot } from '../support/paths.ts';

test('package-lock.json names the optional packages of every platform', async () => {
  // Rejects with the missing names on stderr; `node scripts/complete-lock.ts` adds them.
  await promisify(execFile)(process.execPath, [
    join(repositoryRoot, 'scripts', 'complete-lock.ts'),
    '--check',
  ]);
});
