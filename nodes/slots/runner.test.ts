/**
 * What every runner must do, shown on both that there are: behind bwrap, and bare. A third one (a virtual
 * machine) would join the table.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { access, chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { callSocket } from '../testing/world.ts';
import { detectSandbox, type Sandbox } from '../sandbox/detect.ts';
import { encodeWorkerdConfig } from '../workerd/encode.ts';
import type { Guest, SlotRunner } from './runner.ts';

const SOURCE = 'export default { fetch() { console.log("seen"); return new Response("guest"); } };';
const CONFIG = encodeWorkerdConfig({
  services: [
    {
      name: 'main',
      kind: 'worker',
      modules: [{ name: 'm.js', type: 'esm', content: new TextEncoder().encode(SOURCE) }],
      compatibilityDate: '2026-01-01',
      compatibilityFlags: [],
      bindings: [],
      globalOutbound: 'internet',
    },
    { name: 'internet', kind: 'network', allow: [] },
  ],
  sockets: [
    { name: 'instance', service: 'main', cfBlobHeader: 'isoplane-cf' },
    { name: 'second', service: 'main', cfBlobHeader: 'isoplane-cf', socketName: 'r.sock' },
  ],
  v8Flags: [],
});
const SOCKETS = ['instance', 'second'];

/** This process has hardly any file descriptors left, until disposed. */
function fewDescriptors(): Disposable & { leave(count: number): void } {
  const limit = (soft: string): void =>
    void execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`]);
  const before = /Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? '1024';
  limit(String(readdirSync('/proc/self/fd').length + 20));
  const held: number[] = [];
  return {
    leave: (count) => {
      try {
        for (;;) held.push(openSync('/dev/null', 'r'));
      } catch {
        // EMFILE: that is the point.
      }
      for (const descriptor of held.splice(0, count)) closeSync(descriptor);
    },
    [Symbol.dispose]: () => {
      for (const descriptor of held) closeSync(descriptor);
      limit(before);
    },
  };
}

describe.for(['auto', 'off'] as const)('a runner with the sandbox %s', (mode) => {
  let temp: TempFolder;
  let sandbox: Sandbox;
  let runner: SlotRunner;
  let next = 0;
  beforeAll(async () => {
    temp = await tempFolder();
    // The slots' own user must be able to pass.
    await chmod(temp.path, 0o711);
    sandbox = await detectSandbox({ folder: join(temp.path, 'box'), mode });
    runner = sandbox.runner('standard');
  });
  afterAll(() => temp[Symbol.asyncDispose]());

  interface Run {
    readonly guest: Guest;
    readonly folder: string;
    readonly listening: Promise<void>;
    readonly output: () => string;
  }

  async function run(): Promise<Run> {
    next += 1;
    const folder = join(sandbox.slotsDir, `r${next}`);
    let listens: () => void = () => undefined;
    const listening = new Promise<void>((resolve) => {
      listens = resolve;
    });
    let output = '';
    const guest = await runner.run(folder, {
      stdout: (chunk) => (output += Buffer.from(chunk).toString('utf8')),
      stderr: () => undefined,
      listening: () => listens(),
    });
    return { guest, folder, listening, output: () => output };
  }

  test('gives a guest that waits, listens on every socket, delivers output and ends in order', async ({
    expect,
  }) => {
    const { guest, folder, listening, output } = await run();
    expect(await guest.ready).toEqual({ kind: 'waiting' });
    guest.give(CONFIG, SOCKETS);
    await listening;
    for (const socket of ['w.sock', 'r.sock'])
      expect(await callSocket(join(folder, socket))).toMatchObject({ text: 'guest' });
    const sample = guest.sample(7);
    expect(sample).toMatchObject({ atMs: 7 });
    expect(sample?.privateBytes).toBeGreaterThan(1_048_576);
    // Its priority goes down and up, or stays where that could not be undone.
    guest.lower();
    guest.restore();
    guest.terminate();
    expect(await guest.ended).toEqual({ outOfMemory: false, inOrder: true, fromOutside: false });
    expect(output()).toContain('seen');
    expect(guest.sample(8)).toBeUndefined();
    guest.lower();
    await expect(access(folder)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('ends a guest at any time, also while it comes up', async ({ expect }) => {
    for (let delayMs = 0; delayMs < 30; delayMs += 3) {
      const { guest, folder } = await run();
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      guest.kill();
      await guest.ended;
      await expect(access(folder)).rejects.toMatchObject({ code: 'ENOENT' });
      // Too late is harmless.
      guest.kill();
      guest.terminate();
    }
  });

  test('without file descriptors it says so, ends the guest, and leaves nothing', async ({ expect }) => {
    let started: Run;
    {
      using descriptors = fewDescriptors();
      // The filter of the sandbox takes one, and the pipes of the process find none.
      descriptors.leave(1);
      started = await run();
    }
    expect(await started.guest.ready).toMatchObject({ kind: 'failed' });
    await started.guest.ended;
    await expect(access(started.folder)).rejects.toMatchObject({ code: 'ENOENT' });
    const next = await run();
    expect(await next.guest.ready).toEqual({ kind: 'waiting' });
    next.guest.kill();
    await next.guest.ended;
  });

  test('a folder that a crashed agent left is taken over empty', async ({ expect }) => {
    const first = await run();
    await first.guest.ready;
    first.guest.give(CONFIG, SOCKETS);
    await first.listening;
    next -= 1;
    const second = await run();
    expect(second.folder).toBe(first.folder);
    expect(await readdir(second.folder)).toEqual([]);
    first.guest.kill();
    second.guest.kill();
    await Promise.all([first.guest.ended, second.guest.ended]);
  });

  test('a folder that cannot be made is refused, and nothing is left', async ({ expect }) => {
    await expect(
      runner.run(join(sandbox.slotsDir, 'none', 'below'), {
        stdout: () => undefined,
        stderr: () => undefined,
        listening: () => undefined,
      }),
    ).rejects.toMatchObject({ code: 'ENOENT' });
    expect((await readdir(sandbox.slotsDir)).filter((name) => name === 'none')).toEqual([]);
  });
});
