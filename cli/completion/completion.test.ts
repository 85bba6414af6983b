/** Completion as the shells do it: the candidates by themselves, then in real bash, zsh and fish. */
import { execFile, execFileSync } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { createProgram } from '../program.ts';
import { fakeControl, type FakeControl } from '../testing/fake-control.ts';
import { complete, type Names } from './complete.ts';

const run = promisify(execFile);
const BIN = fileURLToPath(new URL('../bin.js', import.meta.url));
const NAMES: Names = (kind, before) => Promise.resolve([`${kind}-of-${before.join('-')}`, `other-${kind}`]);
const valuesFor = async (...words: string[]): Promise<string[]> =>
  (await complete(createProgram(), words, NAMES)).map((each) => each.value);

describe('candidates', () => {
  test.for([
    [['fun'], ['functions']],
    [
      ['kv', 'g'],
      ['grant', 'get'],
    ],
    [
      ['--json', 'kv', 'g'],
      ['grant', 'get'],
    ],
    [
      ['--data', 'somewhere', 'kv', 'g'],
      ['grant', 'get'],
    ],
    [
      ['functions', 'show', ''],
      ['function-of-', 'other-function'],
    ],
    [['aliases', 'delete', 'hello', 'o'], ['other-alias']],
    [['rollback', 'hello', '--alias', 'al'], ['alias-of-hello']],
    [['usage', '--function', 'o'], ['other-function']],
    [
      ['keys', 'create', 'x', '--role', ''],
      ['owner', 'deployer', 'invoker', 'observer'],
    ],
    [['up', '--sandbox=r'], ['--sandbox=required']],
    [['up', '--sandbox', 'o'], ['off']],
    [
      ['help', 'kv', 'g'],
      ['grant', 'get'],
    ],
    [['completion', 'z'], ['zsh']],
    [['keys', 'create', ''], []],
    [['kv', 'create', ''], []],
    [['deploy', 'fold'], []],
    [['nonsense', ''], []],
  ] as const)('isoplane %j', async ([words, expected], { expect }) => {
    expect(await valuesFor(...words)).toEqual(expected);
  });

  test('flags are those of the command and of every command', async ({ expect }) => {
    const flags = await valuesFor('deploy', '--');
    for (const flag of ['--dry-run', '--json', '--help']) expect(flags).toContain(flag);
    expect(new Set(flags).size).toBe(flags.length);
  });
});

function has(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    console.warn(`${program} is not installed: completion in it is not tested (apt-get install ${program})`);
    return false;
  }
}

interface Place extends AsyncDisposable {
  readonly control: FakeControl;
  /** Runs a script in a shell that finds `isoplane` in its PATH. */
  shell(program: string, args: readonly string[]): Promise<string>;
}

async function place(): Promise<Place> {
  const control = await fakeControl(() => ({ body: { items: [{ name: 'hello' }, { name: 'help-desk' }] } }));
  const folder = await tempFolder();
  const command = join(folder.path, 'isoplane');
  await writeFile(command, `#!/bin/sh\nexec '${process.execPath}' '${BIN}' "$@"\n`);
  await chmod(command, 0o755);
  const env = {
    PATH: `${folder.path}:/usr/bin:/bin`,
    HOME: folder.path,
    ISOPLANE_DATA_DIR: control.dataDir,
    TERM: 'dumb',
  };
  return {
    control,
    shell: async (program, args) =>
      (await run(program, args, { env, cwd: folder.path, timeout: 50_000 })).stdout,
    async [Symbol.asyncDispose]() {
      await control[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const BASH = `source <(isoplane completion bash)
try() { COMP_LINE="$1"; COMP_POINT=\${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _isoplane; echo "\${COMPREPLY[*]}"; }
try 'isoplane fun' isoplane fun
try 'isoplane functions show hel' isoplane functions show hel
try 'isoplane up --sandbox=r' isoplane up --sandbox = r
complete -p isoplane`;

const FISH = `isoplane completion fish | source
complete -C 'isoplane fun'
complete -C 'isoplane functions show hel'
complete -C 'isoplane up --sandbox=r'
touch afile; complete -C 'isoplane deploy af'`;

/** An interactive zsh on a terminal of its own, in which Tab is pressed. */
const ZSH = `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PROMPT=; autoload -U compinit; compinit -u; source <(isoplane completion zsh); print REA""DY'
zpty -r -m z line '*READY*'
tab() { zpty -w -n z "$1"; local seen=; repeat 300; do zpty -r -t z line && seen+=$line; [[ $seen == *$2* ]] && print "found $2" && break; sleep 0.1; done; zpty -w -n z $'\\C-u' }
tab $'isoplane func\\t' 'functions'
tab $'isoplane functions show help-\\t' 'help-desk'
zpty -d z`;

describe('in a real shell', () => {
  test.skipIf(!has('bash'))('bash', async ({ expect }) => {
    await using at = await place();
    const lines = (await at.shell('bash', ['--norc', '-c', BASH])).trim().split('\n');
    expect(lines).toEqual(['functions', 'hello help-desk', 'required', 'complete -F _isoplane isoplane']);
  });

  test.skipIf(!has('fish'))('fish', async ({ expect }) => {
    await using at = await place();
    const lines = (await at.shell('fish', ['-c', FISH])).trim().split('\n');
    expect(lines).toEqual([
      'functions\tfunctions of the account',
      'hello',
      'help-desk',
      '--sandbox=required',
      'afile',
    ]);
  });

  test.skipIf(!has('zsh'))('zsh', async ({ expect }) => {
    await using at = await place();
    const text = await at.shell('zsh', ['-f', '-c', ZSH]);
    expect(text.trim().split('\n')).toEqual(['found functions', 'found help-desk']);
  });
});
