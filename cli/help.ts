/** `isoplane help [COMMAND…|exit-codes]`: commander's own prints everything for a word it does not know. */
import process from 'node:process';
import type { Command } from 'commander';
import { EXIT } from './failure.ts';
import { didYouMean } from './guess.ts';
import { usage } from './commands/arguments.ts';

export const EXIT_CODES: readonly (readonly [code: number, meaning: string])[] = [
  [EXIT.done, 'done'],
  [EXIT.failed, 'failed: the platform refused, or the project has a fault'],
  [EXIT.usage, 'the command line is wrong'],
  [EXIT.unreachable, 'no running platform was found, or no key for it'],
  [EXIT.answered, 'invoke: the function answered with status 400 or above'],
  [EXIT.notServed, 'deploy, rollback: accepted, but not served everywhere in time'],
  [130, 'interrupted (Ctrl-C)'],
];

const TOPIC = 'exit-codes';

function exitCodesText(): string {
  const width = Math.max(...EXIT_CODES.map(([code]) => String(code).length));
  return [
    'Exit codes:',
    ...EXIT_CODES.map(([code, meaning]) => `  ${String(code).padEnd(width)}  ${meaning}`),
  ].join('\n');
}

export function addHelp(program: Command): void {
  program.helpCommand(false);
  program.addHelpText('after', `\n${exitCodesText()}`);
  program
    .command('help')
    .argument('[command...]', `a command, or ${TOPIC}`)
    .description('explain a command')
    .action((words: readonly string[]) => {
      if (words[0] === TOPIC) process.stdout.write(`${exitCodesText()}\n`);
      else process.stdout.write(`${find(program, words).helpInformation().trimEnd()}\n`);
      if (words.length === 0) process.stdout.write(`\n${exitCodesText()}\n`);
    });
}

function find(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const [index, word] of words.entries()) {
    const child = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
    if (child === undefined) {
      const known = command.commands.map((each) => each.name());
      const at = ['isoplane', ...words.slice(0, index)].join(' ');
      throw usage(
        `There is no command "${[...words.slice(0, index), word].join(' ')}".${didYouMean(word, [...known, TOPIC])}`,
        `\`${index === 0 ? 'isoplane help' : `${at} --help`}\` lists the commands.`,
      );
    }
    command = child;
  }
  return command;
}
