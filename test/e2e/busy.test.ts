/**
 * Goal: an instance that takes no more connections is busy, and not lost: who calls waits for it, and is told when that
 * takes too long. Method: the process of a target stands still, and its queues of connections are filled.
 */
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { afterAll, beforeAll, test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { fillQueue } from '#shared/testing/instance.node.ts';
import { slotsOf } from '../hostile/slots.ts';
import { TestPlatform, type CallAnswer } from '../support/platform.ts';

/** Sockets of an instance (nodes/slots/sockets.ts): of gateways, and of bindings. */
const SOCKETS = ['w.sock', 'r.sock'] as const;

/** More than a gateway keeps an idle connection (shared/upstream/socket-client.node.ts). */
const KEPT_MS = 3_500;

let platform: TestPlatform;

beforeAll(async () => {
  platform = await TestPlatform.start();
  // Longer than a lease takes to move from one holder to the other.
  const scaling = { maxInstances: 1, queueTimeoutMs: 4_000 };
  await platform.api.deploy('target', {
    modules: {
      'index.js': `let id; export default { fetch: () => new Response((id ??= crypto.randomUUID())) };`,
    },
    config: { auth: { mode: 'public' }, scaling },
  });
  await platform.api.deploy('caller', {
    modules: {
      'index.js': `export default { async fetch(request, env) {
        try {
          return await env.TARGET.fetch('http://target/');
        } catch (error) {
          return new Response(error.code);
        }
      } };`,
    },
    config: { auth: { mode: 'public' }, services: [{ binding: 'TARGET', function: 'target' }] },
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

const call = (name: string): Promise<CallAnswer> => platform.call(name, { path: '/' });

test('is said to be busy after the wait for a place, by gateways and by bindings, and serves again when it goes on', async ({
  expect,
}) => {
  const { text: id } = await call('target');
  const tooOldMs = performance.now() + KEPT_MS;
  const [target, ...others] = slotsOf(platform).filter(({ folder }) => existsSync(join(folder, SOCKETS[0])));
  if (target === undefined || others.length > 0) throw new Error('not one instance runs');
  const queued: Socket[] = [];
  process.kill(target.pid, 'SIGSTOP');
  try {
    for (const file of SOCKETS) queued.push(...(await fillQueue(join(target.folder, file))));
    await waitFor('the kept connection of the call before to be too old', () => performance.now() > tooOldMs);
    const refused = await call('target');
    expect([refused.status, refused.code, refused.headers['retry-after']]).toEqual([
      503,
      'instance_busy',
      '1',
    ]);
    expect((await call('caller')).text).toBe('instance_busy');
    process.kill(target.pid, 'SIGCONT');
    for (const socket of queued.splice(0)) socket.destroy();
    expect((await call('target')).text).toBe(id);
    expect((await call('caller')).text).toBe(id);
  } finally {
    process.kill(target.pid, 'SIGCONT');
    for (const socket of queued) socket.destroy();
  }
});
