/** A guide of docs/ as a reader follows it: files are written where they say, commands run by a shell, in order. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { snippetsOf, type Snippet } from '../docs/markdown.ts';
import { repositoryRoot } from './paths.ts';

const run = promisify(execFile);
const STEP_MS_MAX = 200_000;

export interface Reader {
  /** Folder that the guide starts in; each of its chapters does. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Of the platform: stands in for the port of the guide. */
  readonly gatewayUrl: string;
}

/** Paths after `file=` in the note of a fence. */
export function filesOf({ note }: Snippet): readonly string[] {
  return /(?:^|\s)file=(\S+)/.exec(note)?.[1]?.split(',') ?? [];
}

export async function guide(name: string): Promise<readonly Snippet[]> {
  const page = await readFile(join(repositoryRoot, 'docs', `${name}.md`), 'utf8');
  return snippetsOf(`docs/${name}.md`, page);
}

/** What each block of commands wrote to stdout, in order. */
export async function follow(snippets: readonly Snippet[], reader: Reader): Promise<string[]> {
  const { port } = new URL(reader.gatewayUrl);
  const said: string[] = [];
  let heading = '';
  let cwd = reader.folder;
  for (const snippet of snippets) {
    if (snippet.heading !== heading) cwd = reader.folder;
    ({ heading } = snippet);
    const text = snippet.text.replaceAll(':8787', `:${port}`);
    for (const file of filesOf(snippet)) {
      await mkdir(dirname(join(reader.folder, file)), { recursive: true });
      await writeFile(join(reader.folder, file), text);
    }
    if (snippet.language !== 'sh' || snippet.note !== 'run') continue;
    const output = await runStep(snippet.at, text, { ...reader, folder: cwd });
    const lines = output.trimEnd().split('\n');
    cwd = lines.at(-1) ?? cwd;
    said.push(lines.slice(0, -1).join('\n'));
  }
  return said;
}

async function runStep(at: string, text: string, { folder, env }: Reader): Promise<string> {
  const script = text
    .replaceAll('curl ', 'curl -sS ')
    .replaceAll(/npm install /g, 'npm install --prefer-offline --no-audit --no-fund ');
  try {
    const { stdout } = await run('bash', ['--norc', '-euo', 'pipefail', '-c', `${script}\necho; pwd`], {
      cwd: folder,
      env,
      timeout: STEP_MS_MAX,
      maxBuffer: 16 * 1024 * 1024,
    });
    return stdout;
  } catch (thrown) {
    const { stdout = '', stderr = '' } = thrown as { stdout?: string; stderr?: string };
    throw new Error(`${at} failed\n${stdout}\n${stderr}`, { cause: thrown });
  }
}

/** A folder with the `node` of this test, so that a program that wants a newer one than the machine's finds it. */
export async function nodeFolder(folder: string): Promise<string> {
  const bin = join(folder, 'bin');
  await mkdir(bin, { recursive: true });
  await symlink(process.execPath, join(bin, 'node'));
  return bin;
}
