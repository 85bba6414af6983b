/** The agent's side: a thread that dies is replaced, and live slots get their sockets back. */
import { request } from 'node:http';
import type { Worker } from 'node:worker_threads';
import { test } from 'vitest';
import { functionConfigSchema } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { memoryLog, waitFor, type LoggedLine } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { join } from 'node:path';
import { httpTarget } from '../testing/targets.node.ts';
import { Egress, spawnEgressThread } from './egress.node.ts';

function runnable(): Runnable {
  const config = functionConfigSchema.parse({ compatibilityDate: '2026-11-01', egress: { allow: ['*:*'] } });
  return {
    ...config,
    id: versionIdSchema.parse('default/hello@1'),
    main: 'index.js',
    modules: [],
    egress: egressRulesOf(config),
    kv: [],
    versionMetadata: undefined,
    secrets: [],
  };
}

const statusOf = (socketPath: string, url: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path: url, agent: false, setHost: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    outgoing.once('error', reject).end();
  });

/** Taken with each call. The tests have one version. */
function requestsOf(egress: Egress): number {
  let requests = 0;
  for (const { amounts } of egress.takeUsage()) requests += amounts.egressRequests ?? 0;
  return requests;
}

test('a thread that dies is replaced, every live slot is served again, and usage is kept', async ({
  expect,
}) => {
  await using target = await httpTarget((_request, response) => response.end('ok'));
  await using folder = await tempFolder();
  const workers: Worker[] = [];
  const lines: LoggedLine[] = [];
  const egress = new Egress({
    settings: { allowPrivate: ['127.0.0.0/8'], dnsServers: [], extraCa: undefined, nodeKeyFile: '/nowhere' },
    clock: systemClock,
    timers: systemTimers,
    log: memoryLog(lines),
    onRefused: () => undefined,
    spawn: (settings) => {
      const worker = spawnEgressThread(settings);
      workers.push(worker);
      return worker;
    },
  });
  const slot = { instanceId: 'i1', folder: folder.path, owner: undefined, runnable: runnable() };
  await egress.attach(slot);
  const socketPath = join(folder.path, 'e.sock');
  const ask = (): Promise<number> => statusOf(socketPath, `http://127.0.0.1:${target.port}/`);
  expect(await ask()).toBe(200);
  await waitFor('usage', () => requestsOf(egress) === 1);
  await workers[0]?.terminate();
  await waitFor('the slot to be served again', async () => (await ask()) === 200);
  expect(workers).toHaveLength(2);
  expect(lines.map(({ event }) => event)).toContain('egress_restarts');
  egress.detach('i1');
  await waitFor('the socket to be closed', () =>
    ask().then(
      () => false,
      () => true,
    ),
  );
  await waitFor('the last usage', () => requestsOf(egress) >= 1);
  await egress.close();
  expect(workers).toHaveLength(2);
});

test('a folder in which nothing can listen fails the start; an instance that ends meanwhile does not', async ({
  expect,
}) => {
  await using folder = await tempFolder();
  const egress = new Egress({
    settings: { allowPrivate: [], dnsServers: [], extraCa: undefined, nodeKeyFile: '/nowhere' },
    clock: systemClock,
    timers: systemTimers,
    log: memoryLog([]),
    onRefused: () => undefined,
  });
  const slot = {
    instanceId: 'i1',
    folder: join(folder.path, 'none'),
    owner: undefined,
    runnable: runnable(),
  };
  await expect(egress.attach(slot)).rejects.toMatchObject({ code: 'internal' });
  const attached = egress.attach({ ...slot, instanceId: 'i2', folder: folder.path });
  egress.detach('i2');
  await attached;
  egress.detach('unknown');
  await egress.close();
});
