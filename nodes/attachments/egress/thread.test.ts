/** The network as a kind: a thread that dies is replaced, and live slots get their sockets and their usage back. */
import { request } from 'node:http';
import { Worker } from 'node:worker_threads';
import { test } from 'vitest';
import { functionConfigSchema } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { memoryLog, waitFor, type LoggedLine } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { join } from 'node:path';
import { AttachmentHost } from '../host.ts';
import { httpTarget } from '../../testing/targets.ts';
import { egressKind } from './kind.ts';

function runnable(): Runnable {
  const config = functionConfigSchema.parse({ compatibilityDate: '2026-11-01', egress: { allow: ['*:*'] } });
  return {
    ...config,
    id: versionIdSchema.parse('default/hello@1'),
    main: 'index.js',
    modules: [],
    egress: egressRulesOf(config),
    bindings: [],
    versionMetadata: undefined,
    secrets: [],
  };
}

const statusOf = (socketPath: string, url: string, headers = {}): Promise<number> =>
  new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path: url, headers, agent: false, setHost: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    outgoing.once('error', reject).end();
  });

/** Taken with each call. The tests have one version. */
function requestsOf(host: AttachmentHost): number {
  let requests = 0;
  for (const { amounts } of host.takeUsage()) requests += amounts.egressRequests ?? 0;
  return requests;
}

function open(allowPrivate: readonly string[]) {
  const workers: Worker[] = [];
  const lines: LoggedLine[] = [];
  const host = new AttachmentHost({
    kinds: [egressKind({ allowPrivate, dnsServers: [], extraCa: undefined, nodeKeyFile: '/nowhere' })],
    clock: systemClock,
    timers: systemTimers,
    log: memoryLog(lines),
    spawn: (entry, options) => {
      const worker = new Worker(entry, options);
      workers.push(worker);
      return worker;
    },
  });
  return { host, workers, lines };
}

test('a thread that dies is replaced, every live slot is served again, and usage is kept', async ({
  expect,
}) => {
  await using target = await httpTarget((_request, response) => response.end('ok'));
  await using folder = await tempFolder();
  const { host, workers, lines } = open(['127.0.0.0/8']);
  expect(workers, 'the first instance does not wait for the thread').toHaveLength(1);
  const slot = {
    instanceId: 'i1',
    folder: folder.path,
    owner: undefined,
    runnable: runnable(),
    refused: () => undefined,
  };
  await host.attach(slot);
  const socketPath = join(folder.path, 'e.sock');
  const ask = (): Promise<number> => statusOf(socketPath, `http://127.0.0.1:${target.port}/`);
  expect(await ask()).toBe(200);
  await waitFor('usage', () => requestsOf(host) === 1);
  await workers[0]?.terminate();
  await waitFor('the slot to be served again', async () => (await ask()) === 200);
  expect(workers).toHaveLength(2);
  expect(lines).toContainEqual(
    expect.objectContaining({
      event: 'attachment_thread_ended',
      fields: expect.objectContaining({ kind: 'egress', instances: 1 }),
    }),
  );
  host.detach('i1');
  await waitFor('the socket to be closed', () =>
    ask().then(
      () => false,
      () => true,
    ),
  );
  await waitFor('the last usage', () => requestsOf(host) >= 1);
  await host.close();
  expect(workers).toHaveLength(2);
});

test('what a socket refuses is told to whoever attached it, with the request', async ({ expect }) => {
  await using folder = await tempFolder();
  const { host } = open([]);
  const refused: unknown[] = [];
  await host.attach({
    instanceId: 'i1',
    folder: folder.path,
    owner: undefined,
    runnable: runnable(),
    refused: (message, requestId) => refused.push([message, requestId]),
  });
  expect(
    await statusOf(join(folder.path, 'e.sock'), 'http://127.0.0.1:81/', { 'isoplane-request-id': 'r1' }),
  ).toBe(403);
  expect(await waitFor('the refusal', () => refused[0])).toEqual([
    expect.stringContaining('egress_denied'),
    'r1',
  ]);
  await host.close();
});

test('a folder in which nothing can listen fails the start; an instance that ends meanwhile does not', async ({
  expect,
}) => {
  await using folder = await tempFolder();
  const { host } = open([]);
  const slot = {
    instanceId: 'i1',
    folder: join(folder.path, 'none'),
    owner: undefined,
    runnable: runnable(),
    refused: () => undefined,
  };
  await expect(host.attach(slot)).rejects.toMatchObject({ code: 'internal' });
  const attached = host.attach({ ...slot, instanceId: 'i2', folder: folder.path });
  host.detach('i2');
  await attached;
  host.detach('unknown');
  await host.close();
});
