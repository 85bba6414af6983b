/** The `isoplane` command: parses the line, runs one command, ends with its exit code. */
import process from 'node:process';
import { CommanderError } from 'commander';
import { EXIT } from './failure.ts';
import { createOutput } from './output.ts';
import { usage } from './commands/arguments.ts';
import { createProgram } from './program.ts';

// A reader that went away (`isoplane logs | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.done);
  throw error;
});

const argv = process.argv.slice(2);
const json = argv.includes('--json');
const output = createOutput({ json, verbose: argv.includes('--verbose') });
try {
  await createProgram(json).parseAsync(argv, { from: 'user' });
} catch (thrown) {
  if (thrown instanceof CommanderError) {
    // Help and version end with 0; commander has already written what is wrong otherwise.
    process.exitCode = thrown.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (json && thrown.exitCode !== 0) output.fail(usageOf(thrown));
  } else if (thrown instanceof DOMException && thrown.name === 'AbortError') {
    process.exitCode = EXIT.interrupted;
  } else {
    process.exitCode = output.fail(thrown);
  }
}

function usageOf(error: CommanderError): Error {
  // A command group alone: commander prints its help and names nothing.
  if (error.code === 'commander.help')
    return usage('The command is incomplete.', '`isoplane help` lists the commands.');
  return usage(error.message.replace(/^error: /, '').replaceAll('\n', ' '));
}
