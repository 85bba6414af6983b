/** The `isoplane` command: parses the line, runs one command, ends with its exit code. */
import process from 'node:process';
import { CommanderError } from 'commander';
import { EXIT } from './failure.ts';
import { createOutput } from './output.ts';
import { createProgram } from './program.ts';

const INTERRUPTED = 130;

// A reader that went away (`isoplane logs | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.done);
  throw error;
});

const argv = process.argv.slice(2);
try {
  await createProgram().parseAsync(argv, { from: 'user' });
} catch (thrown) {
  if (thrown instanceof CommanderError) {
    // Help and version end with 0; commander has already written what is wrong otherwise.
    process.exitCode = thrown.exitCode === 0 ? EXIT.done : EXIT.usage;
  } else if (thrown instanceof DOMException && thrown.name === 'AbortError') {
    process.exitCode = INTERRUPTED;
  } else {
    const output = createOutput({ json: argv.includes('--json'), verbose: argv.includes('--verbose') });
    process.exitCode = output.fail(thrown);
  }
}
