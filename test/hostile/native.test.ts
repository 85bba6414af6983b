/**
 * Goal: whoever takes over workerd itself is still contained, and the suite notices when he is not. Method:
 * the same attempts inside a slot of a platform with its sandbox, and of one that runs without.
 */
import { createServer, type Server } from 'node:net';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { keyOf } from '#shared/runtime/transport.node.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { TestPlatform } from '../support/platform.ts';
import { confinementOf, runInside, type InsideResult } from './inside.ts';
import { NATIVE, nativeProgram, type NativeAttack, type Prey } from './native.ts';
import { slotsOf, type SlotProcess } from './slots.ts';
import { requireFullSandbox } from './suite.ts';

/** Attempts that succeed for any user as soon as the sandbox is gone. */
const NEED_SANDBOX = NATIVE.filter(({ needsSandbox }) => needsSandbox);
const ESCAPED = /^ESCAPED/;

interface Raid extends InsideResult {
  readonly slot: SlotProcess;
  /** Attack → what it came to. */
  readonly verdicts: ReadonlyMap<NativeAttack, string>;
}

let folder: TempFolder;
let abstractServer: Server;
const abstractName = `isoplane-hostile-${process.pid}`;

beforeAll(async () => {
  folder = await tempFolder();
  await chmod(folder.path, 0o711);
  abstractServer = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => abstractServer.listen(`\0${abstractName}`, resolve));
});
afterAll(async () => {
  abstractServer?.close();
  await folder?.[Symbol.asyncDispose]();
});

async function preyOf(platform: TestPlatform, openFolder: string): Promise<Prey> {
  await platform.api.deploy('neighbour', {
    modules: { 'index.js': `export default { fetch() { return new Response('fine'); } };` },
    config: { auth: { mode: 'public' } },
  });
  await platform.call('neighbour');
  const { layout } = platform.platform;
  const neighbour = slotsOf(platform).at(-1);
  if (neighbour === undefined) throw new Error('the node runs nothing');
  return {
    credentials: layout.credentials,
    kek: layout.keyEncryptionKey,
    database: layout.database,
    runDir: layout.runDir,
    sockets: {
      control: keyOf(layout.sockets.control),
      scheduler: keyOf(layout.sockets.scheduler),
      node: keyOf(layout.sockets.node('n1')),
    },
    ports: {
      control: Number(new URL(platform.platform.controlUrl).port),
      gateway: Number(new URL(platform.gatewayUrl).port),
    },
    agentPid: platform.platform.pids()['node'] ?? 0,
    neighbour,
    abstractName,
    openFolder,
  };
}

async function raid(platform: TestPlatform, name: string): Promise<Raid> {
  const own = join(folder.path, name);
  const openFolder = join(folder.path, `${name}-open`);
  for (const path of [own, openFolder]) await mkdir(path);
  await chmod(openFolder, 0o777);
  const prey = await preyOf(platform, openFolder);
  const [slot] = slotsOf(platform);
  if (slot === undefined) throw new Error('the node has no slot');
  const result = await runInside(slot, own, nativeProgram(NATIVE, prey));
  const lines = new Map(result.output.split('\n').map((line) => line.split('\t', 2) as [string, string]));
  if (!lines.has('end'))
    throw new Error(`the program did not come to its end: ${result.output.slice(0, 1_000)}`);
  return {
    ...result,
    slot,
    verdicts: new Map(NATIVE.map((attack, index) => [attack, lines.get(String(index)) ?? 'said nothing'])),
  };
}

describe('somebody who has taken over workerd', () => {
  let platform: TestPlatform;
  let inside: Raid;
  beforeAll(async () => {
    platform = await TestPlatform.start();
    requireFullSandbox((await platform.platform.nodeStatus()).sandbox);
    inside = await raid(platform, 'on');
  });
  afterAll(() => platform?.[Symbol.asyncDispose]());

  test('is confined exactly as the slots of the node are', ({ expect }) => {
    expect(inside.confinement).toEqual(confinementOf(inside.slot.pid));
    expect(inside.confinement).toMatchObject({ NoNewPrivs: '1', Seccomp: '2', CapEff: '0000000000000000' });
  });

  for (const attack of NATIVE)
    test(`is kept from ${attack.name}`, ({ expect }) => {
      expect(inside.verdicts.get(attack)).toMatch(attack.held);
    });

  test(`leaves the platform as it was after ${NATIVE.length} attacks`, async ({ expect }) => {
    expect((await platform.call('neighbour')).text).toBe('fine');
    expect((await platform.platform.nodeStatus()).sandbox.level).toBe('full');
  });
});

describe('without the sandbox', () => {
  let platform: TestPlatform;
  let outside: Raid;
  beforeAll(async () => {
    platform = await TestPlatform.start({ sandbox: 'off' });
    outside = await raid(platform, 'off');
  });
  afterAll(() => platform?.[Symbol.asyncDispose]());

  test('the suite refuses to run', async ({ expect }) => {
    const { sandbox } = await platform.platform.nodeStatus();
    expect(() => requireFullSandbox(sandbox)).toThrow('proves nothing here');
  });

  test('the doors that it closes stand open', ({ expect }) => {
    expect(NEED_SANDBOX.length).toBeGreaterThan(20);
    const closed = NEED_SANDBOX.filter((attack) => !ESCAPED.test(outside.verdicts.get(attack) ?? ''));
    expect(closed.map((attack) => `${attack.name}: ${outside.verdicts.get(attack)}`)).toEqual([]);
  });

  test('the same table fails', ({ expect }) => {
    const broken = NATIVE.filter((attack) => !attack.held.test(outside.verdicts.get(attack) ?? ''));
    expect(broken.length).toBeGreaterThanOrEqual(NEED_SANDBOX.length);
  });
});
