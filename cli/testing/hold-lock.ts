/** Takes the lock named on the command line, says so, and keeps it until it is killed. */
import process from 'node:process';
import { lockDataFolder } from '../up/data-lock.ts';

await lockDataFolder(process.argv[2] ?? '');
process.stdout.write('locked\n');
setInterval(() => undefined, 1_000_000);
