/** docs/cli.md: every command with its arguments and options, from the program itself. */
import type { Command, Option } from 'commander';
import { EXIT_CODES } from '#cli/help.ts';
import { createProgram } from '#cli/program.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|');

function optionRow(option: Option): string {
  const fallback =
    option.defaultValue === undefined || option.defaultValue === false || option.negate
      ? ''
      : ` Default: \`${String(option.defaultValue)}\`.`;
  const choices =
    option.argChoices === undefined
      ? ''
      : ` One of ${option.argChoices.map((each) => `\`${each}\``).join(', ')}.`;
  const variable = option.envVar === undefined ? '' : ` Also \`${option.envVar}\`.`;
  return `| \`${option.flags}\` | ${cell(`${sentence(option.description)}${choices}${fallback}${variable}`)} |`;
}

function sentence(text: string): string {
  const capital = text.slice(0, 1).toUpperCase() + text.slice(1);
  return /[.)!?]$/.test(capital) ? capital : `${capital}.`;
}

function usageOf(command: Command, path: string): string {
  const options = command.options.length === 0 ? '' : ' [options]';
  const words = command.registeredArguments.map((each) => {
    const name = `${each.name()}${each.variadic ? '...' : ''}`;
    return each.required ? `<${name}>` : `[${name}]`;
  });
  return [`${path}${options}`, ...words].join(' ');
}

function page(command: Command, path: string): string[] {
  if (command.commands.length > 0) {
    const own = `## ${path}\n\n${sentence(command.description())}\n`;
    return [own, ...command.commands.flatMap((child) => page(child, `${path} ${child.name()}`))];
  }
  const described = command.registeredArguments.filter((each) => each.description !== '');
  return [
    `${path.split(' ').length > 2 ? '###' : '##'} ${path}\n`,
    `\`${usageOf(command, path)}\`\n`,
    `${sentence(command.description())}\n`,
    ...(described.length === 0
      ? []
      : [`${described.map((each) => `- \`${each.name()}\`: ${each.description}`).join('\n')}\n`]),
    ...(command.options.length === 0
      ? []
      : [['| option | meaning |', '| --- | --- |', ...command.options.map(optionRow), ''].join('\n')]),
  ];
}

export function cliPage(notice: string): string {
  const program = createProgram();
  return [
    '# The command line\n',
    `${notice}\n`,
    'Results go to stdout, everything else to stderr. `isoplane COMMAND --help` shows the same as this page; `isoplane completion --help`',
    'says how a shell completes it. How commands find the platform and the key stands in the README, "From elsewhere, and in CI".\n',
    '## Options of every command\n',
    ['| option | meaning |', '| --- | --- |', ...program.options.map(optionRow), ''].join('\n'),
    '## Exit codes\n',
    [
      '| code | meaning |',
      '| --- | --- |',
      ...EXIT_CODES.map(([code, text]) => `| ${code} | ${text} |`),
      '',
    ].join('\n'),
    ...program
      .createHelp()
      .visibleCommands(program)
      .flatMap((command) => page(command, `isoplane ${command.name()}`)),
  ].join('\n');
}
