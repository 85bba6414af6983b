/** Joins commander to the commands: one shape for handlers, parsers for option values. */
import process from 'node:process';
import { InvalidArgumentError, type Command } from 'commander';
import { Context, type GlobalOptions } from './context.ts';
import { withGuess } from './client/guesses.ts';
import { refusedOptions } from './commands/arguments.ts';
import { aboutFunction } from './failure.ts';

export type Handler = (
  context: Context,
  args: readonly string[],
  options: Record<string, unknown>,
) => Promise<number | void>;

/** Commander hands over arguments, then options, then the command; this turns it into one shape. */
export function run(load: () => Promise<Handler>): (...all: unknown[]) => Promise<void> {
  return async (...all) => {
    const command = all.pop() as Command;
    const options = all.pop() as Record<string, unknown>;
    const args = all.filter((arg) => arg !== undefined).flat() as string[];
    const context = new Context(command.optsWithGlobals<GlobalOptions>());
    const handler = await load();
    try {
      const exitCode = await handler(context, args, options);
      if (typeof exitCode === 'number') process.exitCode = exitCode;
    } catch (thrown) {
      const issues = issuesOf(thrown);
      if (issues?.every(({ path }) => String(path[0]) in options) === true)
        throw refusedOptions(options, issues);
      throw aboutFunction(
        await withGuess(thrown, { context, group: command.parent?.name(), args, options }),
        args[0],
      );
    }
  };
}

type Issues = Parameters<typeof refusedOptions>[1];

/** Of a schema that refused something; known by its name, so that help need not load the library. */
function issuesOf(thrown: unknown): Issues | undefined {
  return thrown instanceof Error && thrown.name.endsWith('ZodError') && 'issues' in thrown
    ? (thrown.issues as Issues)
    : undefined;
}

export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`Give a whole number from ${min} to ${max}.`);
    return value;
  };
}

export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}
