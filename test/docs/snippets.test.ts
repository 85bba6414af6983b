/**
 * What stands in fences in the README and the docs is tried: `sh run` blocks by a shell on a real platform, the
 * commands in every other line by the command's own parser, configurations by its schema, TypeScript by the compiler.
 * Programs of docs/signing.md: signing.test.ts. Guides: guides.test.ts and test/packaging. How the platform itself starts (`sh start`): .ci/run.
 */
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { parse as parseJsonc, type ParseError } from 'jsonc-parser';
import { parse as parseToml } from 'smol-toml';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createProgram } from '#cli/program.ts';
import { projectFileSchema } from '#cli/project/schema.ts';
import { scaffold } from '#cli/project/scaffold.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { repositoryRoot } from '../support/paths.ts';
import { UpProcess } from '../support/up.ts';
import { snippetsOf, type Snippet } from './markdown.ts';

const run = promisify(execFile);

async function pages(): Promise<{ readonly name: string; readonly text: string }[]> {
  const docs = (await readdir(join(repositoryRoot, 'docs'))).filter((file) => file.endsWith('.md'));
  const examples = (await readdir(join(repositoryRoot, 'examples'), { recursive: true })).filter(
    (file) => file.endsWith('README.md') && !file.includes('node_modules'),
  );
  const names = [
    'README.md',
    'CONTRIBUTING.md',
    ...docs.map((file) => `docs/${file}`),
    ...examples.map((file) => `examples/${file}`),
  ];
  return Promise.all(
    names.map(async (name) => ({ name, text: await readFile(join(repositoryRoot, name), 'utf8') })),
  );
}

const all = await pages();
const snippets = all.flatMap(({ name, text }) => snippetsOf(name, text));
const inLanguage = (...languages: string[]): Snippet[] =>
  snippets.filter((each) => languages.includes(each.language));

describe('fences', () => {
  test('say what they hold, so that none is left untried by accident', ({ expect }) => {
    const known = [
      'sh',
      'bash',
      'python',
      'js',
      'ts',
      'jsonc',
      'json',
      'jsx',
      'toml',
      'ini',
      'html',
      'http',
      'yaml',
      'text',
    ];
    expect(snippets.filter((each) => !known.includes(each.language)).map((each) => each.at)).toEqual([]);
    expect(snippets.length).toBeGreaterThan(20);
  });
});

describe('configurations', () => {
  const LEAST = { name: 'hello', main: 'src/index.ts', compatibilityDate: '2026-11-01' };
  test('are accepted as they stand', ({ expect }) => {
    const blocks = inLanguage('jsonc', 'json').filter((each) => !each.note.startsWith('other'));
    for (const { at, text } of blocks) {
      const isWhole = text.trimStart().startsWith('{');
      const errors: ParseError[] = [];
      const value: unknown = parseJsonc(isWhole ? text : `{${text}}`, errors, { allowTrailingComma: true });
      expect(errors, at).toEqual([]);
      const parsed = projectFileSchema.safeParse({ ...LEAST, ...(value as object) });
      expect(parsed.error?.issues ?? [], at).toEqual([]);
    }
    expect(blocks.length).toBeGreaterThan(10);
    for (const { at, text } of inLanguage('toml')) expect(() => parseToml(text), at).not.toThrow();
  });
});

describe('TypeScript', () => {
  // That guide has a step that checks types, with an `Env` for each of its two functions.
  const blocks = inLanguage('ts').filter(({ at }) => !at.startsWith('docs/guide-webhooks.md'));
  test.skipIf(blocks.length === 0)('is clean under tsc', async ({ expect }) => {
    await using folder = await tempFolder();
    const files = await scaffold({ name: 'fn', template: 'hello', format: 'isoplane' });
    await writeFile(join(folder.path, 'tsconfig.json'), files.get('tsconfig.json') ?? '');
    await mkdir(join(folder.path, 'src'));
    for (const { at, text } of blocks)
      await writeFile(join(folder.path, 'src', `${at.replaceAll(/[^A-Za-z0-9]+/g, '-')}.ts`), text);
    await symlink(join(repositoryRoot, 'node_modules'), join(folder.path, 'node_modules'));
    const tsc = join(repositoryRoot, 'node_modules', '.bin', 'tsc');
    await expect(run(tsc, ['-p', folder.path])).resolves.toMatchObject({ stdout: '' });
  });
});

/** Words of a line as a shell splits them, as far as documentation goes: quotes, comments, `&&`. */
function commandsIn(line: string): string[][] {
  return line
    .replace(/(^|\s)#.*$/, '')
    .replaceAll(/\s\d?[<>]\s*\S+/g, '')
    .split(/&&|\||;/)
    .map((part) =>
      (part.match(/"[^"]*"|'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll(/^["']|["']$/g, '')),
    )
    .flatMap((words) => {
      const start = words.findIndex((word) => word === 'isoplane' || word.endsWith('/npx'));
      const named = words[start] === 'isoplane' ? start : words.indexOf('isoplane');
      const before = words.slice(0, Math.max(0, named));
      const isCommand = before.every((word) =>
        /^(?:npx|\/usr\/bin\/npx|[A-Z_]+=.*|ExecStart=.*|sudo)$/.test(word),
      );
      return named >= 0 && isCommand ? [words.slice(named + 1)] : [];
    });
}

/** Undefined when the command takes the line; no command runs. */
function problemOf(words: readonly string[]): string | undefined {
  const program = createProgram(true);
  const silence = (command: typeof program): void => {
    command.action(() => undefined).configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
    for (const child of command.commands) silence(child);
  };
  for (const child of program.commands) silence(child);
  try {
    program.parse(words, { from: 'user' });
    return undefined;
  } catch (thrown) {
    const { exitCode, message } = thrown as { exitCode?: number; message: string };
    return exitCode === 0 ? undefined : message;
  }
}

describe('commands', () => {
  test('in fences exist with their options and arguments', ({ expect }) => {
    const lines = inLanguage('sh', 'ini').flatMap(({ at, text }) =>
      text.split('\n').map((line) => ({ at, line })),
    );
    const found = lines.flatMap(({ at, line }) => commandsIn(line).map((words) => ({ at, words })));
    const problems = found.flatMap(({ at, words }) => {
      const problem = problemOf(words);
      return problem === undefined ? [] : [`${at}: isoplane ${words.join(' ')}: ${problem}`];
    });
    expect(problems).toEqual([]);
    expect(found.length).toBeGreaterThan(15);
  });

  test('in running text exist, too', ({ expect }) => {
    const spans = all
      .filter(({ name }) => name !== 'docs/cli.md')
      .flatMap(({ name, text }) =>
        [...text.matchAll(/`((?:npx )?isoplane [^`\n]*)`/g)].map((match) => ({ name, span: match[1] ?? '' })),
      )
      // A synopsis, with brackets, is no command line.
      .filter(({ span }) => !/[[<|…]/.test(span));
    const problems = spans.flatMap(({ name, span }) =>
      commandsIn(span).flatMap((words) => {
        const problem = problemOf(words);
        // Arguments may be left out where the text names a command.
        return problem === undefined || /missing required argument|argument missing|outputHelp/.test(problem)
          ? []
          : [`${name}: ${span}: ${problem}`];
      }),
    );
    expect(problems).toEqual([]);
    expect(spans.length).toBeGreaterThan(15);
  });
});

describe('blocks that run', () => {
  let home: TempFolder;
  let up: UpProcess;
  const environment = (): Record<string, string> => ({
    PATH: `${join(home.path, 'bin')}:/usr/bin:/bin`,
    HOME: home.path,
    NO_COLOR: '1',
  });

  beforeAll(async () => {
    home = await tempFolder();
    up = await UpProcess.start(join(home.path, '.isoplane'));
    await mkdir(join(home.path, 'bin'));
    // npx of the repository finds the command the same way: in node_modules/.bin.
    const launcher = join(repositoryRoot, 'cli', 'bin.js');
    const npx = `#!/bin/sh\nshift\nif [ "$1" = dev ]; then exit 0; fi\nexec '${process.execPath}' '${launcher}' "$@"\n`;
    await writeFile(join(home.path, 'bin', 'npx'), npx);
    await chmod(join(home.path, 'bin', 'npx'), 0o755);
    await cp(join(repositoryRoot, 'examples'), join(home.path, 'examples'), { recursive: true });
  }, 120_000);
  afterAll(async () => {
    await up?.[Symbol.asyncDispose]();
    await home?.[Symbol.asyncDispose]();
  });

  /** `dev` stays until Ctrl-C, and has its own tests; every other line runs as it stands. */
  async function runBlock(text: string, cwd: string): Promise<string> {
    const { port } = new URL(up.gatewayUrl);
    const script = text.replaceAll(':8787', `:${port}`).replaceAll('curl ', 'curl -sS ');
    const { stdout } = await run('bash', ['--norc', '-euo', 'pipefail', '-c', `${script}\necho; pwd`], {
      cwd,
      env: environment(),
      timeout: 100_000,
    });
    return stdout;
  }

  test('the tour of the README, in order', { timeout: 120_000 }, async ({ expect }) => {
    const tour = snippets.filter((each) => each.at.startsWith('README.md') && each.note === 'run');
    expect(tour.length).toBeGreaterThanOrEqual(2);
    let cwd = home.path;
    const seen: string[] = [];
    for (const [index, { text }] of tour.entries()) {
      if (index === 1) {
        const main = join(cwd, 'src', 'index.ts');
        await writeFile(main, (await readFile(main, 'utf8')).replace('world', 'moon'));
      }
      const output = await runBlock(text, cwd);
      cwd = output.trimEnd().split('\n').at(-1) ?? cwd;
      seen.push(output);
    }
    expect(cwd).toBe(join(home.path, 'hello'));
    expect(seen[0]).toContain('signature_missing');
    expect(seen[0]).toContain('Hello, world!');
    expect(seen[1]).toContain('version 2');
    expect(seen[1]).toContain('Hello, moon!');
    expect(seen[1]).toMatch(/serves version 1 again/);
  });

  for (const { at, text } of snippets.filter(
    (each) => each.at.startsWith('examples/') && each.note === 'run',
  ))
    test(at, { timeout: 120_000 }, async ({ expect }) => {
      const folder = join(home.path, at.slice(0, at.lastIndexOf('/')));
      await expect(runBlock(text, folder)).resolves.toContain('is live');
    });
});
