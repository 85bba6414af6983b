/** `isoplane docs [TOPIC [SECTION]]`: the documentation that the package brings. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import type { Context } from '../context.ts';
import { CliError, EXIT } from '../failure.ts';
import { didYouMean } from '../guess.ts';
import { forTerminal } from '../markdown.ts';
import { packageFolder } from '../package-folder.ts';
import { table, terminalWidth } from '../table.ts';

interface Topic {
  readonly name: string;
  readonly path: string;
}

/** `readme`, and each page of docs/ by its name in lower case. */
export async function topics(): Promise<Topic[]> {
  const root = packageFolder();
  const files = await readdir(join(root, 'docs'));
  const pages = files
    .filter((file) => file.endsWith('.md'))
    .map((file) => ({ name: file.slice(0, -'.md'.length).toLowerCase(), path: join(root, 'docs', file) }));
  return [
    { name: 'readme', path: join(root, 'README.md') },
    ...pages.sort((a, b) => (a.name < b.name ? -1 : 1)),
  ];
}

export async function docs(context: Context, args: readonly string[]): Promise<void> {
  const all = await topics();
  const [wanted, section] = args;
  if (wanted === undefined) {
    const rows = await Promise.all(
      all.map(async ({ name, path }) => [name, titleOf(await readFile(path, 'utf8'))]),
    );
    context.output.result(
      rows.map(([topic, title]) => ({ topic, title })),
      () =>
        `${table(['TOPIC', 'TITLE'], rows)}\n\nisoplane docs TOPIC shows one; isoplane docs TOPIC SECTION a part of it.`,
    );
    return;
  }
  const topic = all.find((each) => each.name === wanted.toLowerCase().replace(/\.md$/, ''));
  if (topic === undefined)
    throw unknown(
      `There is no topic ${wanted}.${didYouMean(
        wanted,
        all.map((each) => each.name),
      )}`,
      await adviceFor(wanted, all),
    );
  const text = await readFile(topic.path, 'utf8');
  const shown = section === undefined ? text : sectionOf(text, section, topic.name);
  context.output.result({ topic: topic.name, text: shown }, () =>
    process.stdout.isTTY ? forTerminal(shown.trimEnd(), terminalWidth()) : shown.trimEnd(),
  );
}

const SECTIONS_SUGGESTED_MAX = 3;

/** What is asked for as a topic may be a section of one: `assets` of the page `config`. */
async function adviceFor(wanted: string, all: readonly Topic[]): Promise<string> {
  const found = await Promise.all(
    all.map(async ({ name, path }) => {
      const headings = (await readFile(path, 'utf8')).matchAll(/^#{2,3} (.*)$/gm);
      return [...headings].some(([, heading = '']) => bare(heading) === wanted.toLowerCase()) ? [name] : [];
    }),
  );
  const commands = found
    .flat()
    .slice(0, SECTIONS_SUGGESTED_MAX)
    .map((name) => `\`isoplane docs ${name} ${wanted}\``);
  const sections = commands.length === 0 ? '' : `${commands.join(' or ')} shows the section; `;
  return `${sections}\`isoplane docs\` lists the topics.`;
}

const bare = (heading: string): string => heading.replaceAll('`', '').toLowerCase();

function unknown(message: string, advice: string): CliError {
  return new CliError('topic_not_found', message, { exitCode: EXIT.usage, advice });
}

const titleOf = (text: string): string => /^# (.*)$/m.exec(text)?.[1] ?? '';

/** From the heading to the next one of the same level or above. */
function sectionOf(text: string, wanted: string, topic: string): string {
  const parts = text.split(/^(?=#{2,3} )/m);
  const headings = parts.map((part) => /^(#{2,3}) (.*)/.exec(part));
  const matches = (test: (heading: string) => boolean): number =>
    headings.findIndex((each) => each?.[2] !== undefined && test(bare(each[2])));
  const exact = matches((heading) => heading === wanted.toLowerCase());
  const start = exact >= 0 ? exact : matches((heading) => heading.includes(wanted.toLowerCase()));
  if (start < 0) {
    const known = headings.flatMap((each) => (each?.[2] === undefined ? [] : [each[2].replaceAll('`', '')]));
    throw unknown(
      `${topic} has no section ${wanted}.${didYouMean(wanted, known)}`,
      `Sections: ${known.join(', ')}.`,
    );
  }
  const level = headings[start]?.[1]?.length ?? 2;
  const end = headings.findIndex((each, index) => index > start && (each?.[1]?.length ?? 1) <= level);
  return parts.slice(start, end < 0 ? undefined : end).join('');
}
