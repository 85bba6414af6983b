/**
 * Instances of both tiers seen from outside: user, limits, privileges, network and root of the real process;
 * and what one instance sees of another. Skipped loudly where the machine has no full sandbox.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import process from 'node:process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { z } from 'zod';
import { nodeStatusSchema, type NodeStatus } from '#shared/contracts/nodes.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { callSocket, World, type SourceModule, type TestVersion } from '../testing/world.ts';

let world: World;
let status: NodeStatus;
beforeAll(async () => {
  world = await World.start({ slots: 1, strictUids: { first: 1_910_000_000, count: 3 } });
  status = await world.peer.call('/v1/status', nodeStatusSchema);
});
afterAll(() => world[Symbol.asyncDispose]());

const HELLO: SourceModule = {
  name: 'index.js',
  content: 'export default { fetch() { return new Response("hello"); } };',
};

interface Seen {
  readonly pid: number;
  readonly path: string;
  readonly instanceId: string;
  readonly field: (name: string) => string | undefined;
}

/** The workerd that listens in the folder of this instance, found without the agent's help. */
async function run(version: Omit<TestVersion, 'modules'>): Promise<Seen> {
  const { path, instanceId } = await world.run({ modules: [HELLO], ...version });
  const folder = path.replace(/\/w\.sock$/, '');
  const bwrap = pids().find((pid) => read(`/proc/${pid}/cmdline`).split('\0').includes(folder));
  const pid = pids().find(
    (child) => read(`/proc/${child}/stat`).split(') ')[1]?.split(' ')[1] === String(bwrap),
  );
  if (pid === undefined) throw new Error('no process runs in the folder of the instance');
  const text = read(`/proc/${pid}/status`);
  return { pid, path, instanceId, field: (name) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1] };
}

const pids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Soft and hard value of each limit that is not endless. */
function limitsOf(pid: number): Record<string, string> {
  return Object.fromEntries(
    read(`/proc/${pid}/limits`)
      .split('\n')
      .slice(1)
      .map((line) => /^(Max .+?)\s{2,}(\S+)\s+(\S+)/.exec(line))
      .filter((match) => match !== null)
      .map(([, name = '', soft, hard]) => [name, `${soft} ${hard}`]),
  );
}

const isRoot = process.getuid?.() === 0;
const MIB = 1_048_576;

function requireFull(skip: (why: string) => never): void {
  if (status.sandbox.level !== 'full')
    skip(
      `SKIPPED, not proved here: the sandbox is ${status.sandbox.level}: ${status.sandbox.missing.join('; ')}`,
    );
}

describe('from outside', () => {
  test.for(['standard', 'strict'] as const)(
    'an instance of the tier %s has nothing it could use',
    async (tier, context) => {
      requireFull(context.skip);
      const { pid, field, path } = await run({ id: `default/seen-${tier}@1`, tier });
      const { expect } = context;
      expect(field('NoNewPrivs')).toBe('1');
      expect(field('Seccomp')).toBe('2');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
        expect(field(set), set).toMatch(/^0+$/);
      expect(field('Groups')?.trim()).toBe('');
      // Its network has the loopback device alone.
      const devices = read(`/proc/${pid}/net/dev`)
        .split('\n')
        .slice(2)
        .filter((line) => line.includes(':'));
      expect(devices.map((line) => line.trim().split(':')[0])).toEqual(['lo']);
      const root = (folder: string): string[] => readdirSync(`/proc/${pid}/root${folder}`);
      expect(
        root('/')
          .filter((name) => !/^lib(32|64)?$|^usr$/.test(name))
          .toSorted(),
      ).toEqual(['bin', 'run']);
      expect(root('/bin')).toEqual(['workerd']);
      expect(root('/run')).toEqual(['in']);
      expect(root('/run/in').toSorted()).toEqual(['c.sock', 'e.sock', 'r.sock', 'w.sock']);
      for (const kind of ['user', 'net', 'pid', 'ipc', 'mnt', 'uts', 'cgroup'])
        expect(readlinkSync(`/proc/${pid}/ns/${kind}`), kind).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
      expect(await callSocket(path)).toMatchObject({ text: 'hello' });
    },
  );

  test('the limits of both tiers are those of their profiles', async (context) => {
    requireFull(context.skip);
    const { expect } = context;
    const standard = limitsOf((await run({ id: 'default/limits@1' })).pid);
    const data = (640 + 128) * MIB;
    expect(standard).toMatchObject({
      'Max core file size': '0 0',
      'Max file size': '0 0',
      'Max locked memory': '0 0',
      'Max msgqueue size': '0 0',
      'Max open files': '4096 4096',
      'Max data size': `${data} ${(640 + 4_096) * MIB}`,
    });
    const strict = limitsOf((await run({ id: 'default/limits@2', tier: 'strict' })).pid);
    expect(strict).toMatchObject({
      'Max open files': '2048 2048',
      'Max data size': `${data} ${(640 + 4_096) * MIB}`,
    });
    if (isRoot) expect(strict).toMatchObject({ 'Max processes': '32 32' });
  });

  test('a version of another size has its own memory limit', async (context) => {
    requireFull(context.skip);
    const { pid } = await run({ id: 'default/sized@1', tier: 'strict', limits: { memoryMb: 64 } });
    context.expect(limitsOf(pid)['Max data size']).toBe(`${(640 + 64) * MIB} ${(640 + 4_096) * MIB}`);
  });
});

describe('users', () => {
  test('standard instances share one that owns nothing, each strict one has its own, until none is left', async (context) => {
    requireFull(context.skip);
    if (!isRoot) context.skip('SKIPPED: only an agent that is root can give users away');
    const { expect } = context;
    const uid = ({ field }: Seen): number => Number(field('Uid')?.split('\t')[0]);
    expect(uid(await run({ id: 'default/user@1' }))).toBe(65_534);
    expect(uid(await run({ id: 'default/user@2' }))).toBe(65_534);
    await world.stopAgent();
    await world.startAgent({ slots: 1, strictUids: { first: 1_910_000_000, count: 2 } });
    const one = await run({ id: 'default/user@3', tier: 'strict' });
    const two = await run({ id: 'default/user@3', tier: 'strict' });
    expect([uid(one), uid(two)].toSorted((a, b) => a - b)).toEqual([1_910_000_000, 1_910_000_001]);
    expect(statSync(one.path.replace('/w.sock', '')).uid).toBe(uid(one));
    await expect(world.run({ id: 'default/user@4', tier: 'strict', modules: [HELLO] })).rejects.toMatchObject(
      {
        code: 'no_capacity',
      },
    );
    await world.peer.call(`/v1/instances/${one.instanceId}?graceMs=0`, z.unknown(), { method: 'DELETE' });
    const next = await waitFor('its user to be free again', () =>
      run({ id: 'default/user@5', tier: 'strict' }).catch(() => undefined),
    );
    expect(uid(next)).toBe(uid(one));
  });
});
