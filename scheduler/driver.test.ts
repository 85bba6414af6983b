/**
 * The scheduler on real Unix sockets, between a scripted agent and a gateway that is a plain HTTP client.
 */
import { writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { Hono } from 'hono';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { addressAt } from '#shared/contracts/address.ts';
import { holderHeartbeatReplySchema, leaseSchema } from '#shared/contracts/leases.ts';
import { nodeHeartbeatReplySchema, startRequestSchema, type NodeHeartbeat } from '#shared/contracts/nodes.ts';
import { PlatformError, problemResponse } from '#shared/errors.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';
import { layoutOf, type Layout } from '#shared/runtime/layout.node.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { closeServer, peerOf, serveAt } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import { memoryLog, seededRandom, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { scalingSchema } from '#shared/contracts/config.ts';
import { journalLine } from '#shared/feed/journal.node.ts';
import { readLineSchema } from '#shared/feed/read.ts';
import { functionLifeSchema } from '#shared/contracts/scheduling.ts';
import { CORE_CONFIG } from './core/config.ts';
import type { SchedulerStatus } from './core/report.ts';
import { startScheduler } from './plane.ts';

type StartAnswer = (instanceId: string) => Promise<Response | undefined> | Response | undefined;

class ScriptedAgent {
  readonly instances = new Map<string, string>();
  readonly stopped: string[] = [];
  onStart: StartAnswer = () => undefined;
  readonly #path: string;
  #server: Awaited<ReturnType<typeof serveAt>> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  endpointOf(instanceId: string): NodeHeartbeat['instances'][number]['endpoint'] {
    return {
      instance: addressAt(`${this.#path}.${instanceId}`),
      agent: addressAt(this.#path),
    };
  }

  async listen(): Promise<void> {
    const app = new Hono();
    app.post('/v1/instances', async (c) => {
      const { instanceId, versionId } = startRequestSchema.parse(await c.req.json());
      const answer = await this.onStart(instanceId);
      if (answer !== undefined) return answer;
      this.instances.set(instanceId, versionId);
      return c.json({ endpoint: this.endpointOf(instanceId), startMs: 1 });
    });
    app.delete('/v1/instances/:id', (c) => {
      this.stopped.push(c.req.param('id'));
      this.instances.delete(c.req.param('id'));
      return c.body(null, 204);
    });
    this.#server = await serveAt(addressAt(this.#path), app.fetch);
  }

  heartbeat(): unknown {
    return {
      endpoint: addressAt(this.#path),
      capacity: 20,
      freeSlots: 2,
      draining: false,
      instances: [...this.instances].map(([instanceId, versionId]) => ({
        instanceId,
        versionId,
        endpoint: this.endpointOf(instanceId),
      })),
      exits: [],
    };
  }

  async close(): Promise<void> {
    if (this.#server !== undefined) await closeServer(this.#server, 0);
  }
}

function acquireBody(overrides: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    holderId: 'gw-1',
    versionId: 'default/hello@1',
    scaling: scalingSchema.parse({}),
    waiting: 1,
    deadlineMs: 5_000,
    ...overrides,
  };
}

const SOCKET = 's.sock';

/** All in one folder. Nobody listens at the socket of control: the scheduler works without. */
function layoutIn(folder: string): Layout {
  const layout = layoutOf(folder);
  const scheduler = addressAt(join(folder, SOCKET));
  return {
    ...layout,
    runDir: folder,
    sockets: { ...layout.sockets, scheduler, control: addressAt(join(folder, 'c.sock')) },
  };
}

describe('startScheduler()', () => {
  let folder: TempFolder;
  let plane: RunningPlane;
  let agent: ScriptedAgent;
  let gateway: Peer;

  const beat = (): Promise<unknown> =>
    gateway.call('/v1/nodes/n1/heartbeat', nodeHeartbeatReplySchema, {
      method: 'POST',
      body: agent.heartbeat(),
    });
  const acquire = (overrides?: Readonly<Record<string, unknown>>): Promise<z.infer<typeof leaseSchema>> =>
    gateway.call('/v1/leases', leaseSchema, { method: 'POST', body: acquireBody(overrides) });
  const status = async (): Promise<SchedulerStatus> =>
    (await gateway.call('/v1/status', z.unknown())) as SchedulerStatus;

  beforeEach(async () => {
    folder = await tempFolder();
    plane = await startScheduler({
      layout: layoutIn(folder.path),
      clock: systemClock,
      timers: systemTimers,
      random: seededRandom(1),
      log: memoryLog(),
    });
    agent = new ScriptedAgent(join(folder.path, 'n1.sock'));
    await agent.listen();
    gateway = peerOf(layoutIn(folder.path).sockets.scheduler);
  });

  afterEach(async () => {
    await gateway.close();
    await plane.close(0);
    await agent.close();
    await folder[Symbol.asyncDispose]();
  });

  test('grants a lease on an instance that it has the agent start', async () => {
    await beat();
    const lease = await acquire();
    expect(agent.instances.has(lease.instanceId)).toBe(true);
    expect(lease).toMatchObject({ versionId: 'default/hello@1', slots: 64, ttlMs: 10_000 });
    expect(lease.endpoint).toEqual(agent.endpointOf(lease.instanceId));
  });

  test('an acquire that came before the first heartbeat of a node is served by it', async () => {
    const pending = acquire();
    await waitFor('the acquire to wait', async () => (await status()).versions[0]?.waiting === 1);
    await beat();
    expect(agent.instances.has((await pending).instanceId)).toBe(true);
  });

  test('takes a list that is left out for the one that it has, and a node for unheard whose list it lacks', async () => {
    const send = (body: object): Promise<z.infer<typeof nodeHeartbeatReplySchema>> =>
      gateway.call('/v1/nodes/n1/heartbeat', nodeHeartbeatReplySchema, { method: 'POST', body });
    const { instances, ...rest } = agent.heartbeat() as { instances: unknown[] };
    expect(await send({ ...rest, listMark: 'one' })).toEqual({ stop: [] });
    expect((await status()).nodes).toEqual([]);
    expect(await send({ ...rest, instances, listMark: 'one' })).toEqual({ stop: [], listMark: 'one' });
    await acquire();
    const full = { ...(agent.heartbeat() as object), listMark: 'two' };
    expect(await send(full)).toEqual({ stop: [], listMark: 'two' });
    expect(await send({ ...rest, listMark: 'one' })).toEqual({ stop: [] });
    expect(await send({ ...rest, listMark: 'two' })).toEqual({ stop: [], listMark: 'two' });
    expect((await status()).nodes[0]?.instances).toBe(1);
  });

  test('starts from its journal what is provisioned, with control gone', async () => {
    await plane.close(0);
    const placement = {
      account: 'default',
      name: 'hello',
      enabled: true,
      aliases: [
        { name: 'live', weights: [{ version: 7, weight: 100 }], provision: { instances: 1, schedule: [] } },
      ],
      versions: [{ id: 'default/hello@7', scaling: {} }],
    };
    const line = {
      type: 'snapshot',
      epoch: 'e',
      revision: 1,
      items: [{ kind: 'placement', key: 'default/hello', value: placement }],
    };
    const layout = layoutIn(folder.path);
    await writeFile(layout.schedulerSnapshot, journalLine(readLineSchema.parse(line)));
    plane = await startScheduler({
      layout,
      clock: systemClock,
      timers: systemTimers,
      random: seededRandom(1),
      log: memoryLog(),
      config: { ...CORE_CONFIG, memberDeadMs: 500, confirmMs: 100 },
    });
    await waitFor('the start', async () => {
      await beat();
      return [...agent.instances.values()].includes('default/hello@7');
    });
    expect((await gateway.call('/v1/functions/default/hello', functionLifeSchema)).aliases).toEqual([
      { name: 'live', target: 1, ready: 1 },
    ]);
  });

  test('passes the problem of a failed start to the gateway, with its stack and a pause', async () => {
    agent.onStart = () =>
      problemResponse(
        new PlatformError('startup_failed', 'threw', { extensions: { stack: 'Error: no\n at main.js:1' } }),
      );
    await beat();
    const error = await acquire().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'startup_failed',
      retryAfterMs: 500,
      extensions: { stack: 'Error: no\n at main.js:1' },
    });
    expect((await status()).versions[0]?.held?.code).toBe('startup_failed');
  });

  test('an agent that cannot be reached is asked again, and the request waits for it', async () => {
    await beat();
    await agent.close();
    const pending = acquire();
    await waitFor('the first start to fail', async () => (await status()).nodes[0]?.instances === 0);
    await agent.listen();
    expect(agent.instances.has((await pending).instanceId)).toBe(true);
  });

  test('withdraws the request of a client that hangs up', async () => {
    agent.onStart = () => new Promise(() => {});
    await beat();
    const call = httpRequest({
      socketPath: join(folder.path, SOCKET),
      path: '/v1/leases',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    call.on('error', () => {});
    call.end(JSON.stringify(acquireBody()));
    await waitFor('the acquire to wait', async () => (await status()).versions[0]?.waiting === 1);
    call.destroy();
    await waitFor('the queue to be empty', async () => (await status()).versions[0]?.waiting === 0);
  });

  test('stops an instance whose lease nobody uses, after the gateway gave the lease back', async () => {
    await beat();
    const lease = await acquire({ scaling: scalingSchema.parse({ idleTimeoutMs: 100 }) });
    const name = (leases: readonly string[]): Promise<{ revoked: string[] }> =>
      gateway.call('/v1/holders/gw-1/heartbeat', holderHeartbeatReplySchema, {
        method: 'POST',
        body: { leases: leases.map((leaseId) => ({ leaseId, inFlight: 0 })) },
      });
    await waitFor('the revocation', async () =>
      (await name([lease.leaseId])).revoked.includes(lease.leaseId),
    );
    expect(agent.stopped).toEqual([]);
    await name([]);
    await waitFor('the stop', () => agent.stopped.includes(lease.instanceId));
  });

  test('answers a lease within a few ms of the agent, without waiting for a tick', async () => {
    await beat();
    const samples: number[] = [];
    for (let run = 1; run <= 11; run += 1) {
      const startedMs = performance.now();
      await acquire({ versionId: `default/fn@${run}` });
      samples.push(performance.now() - startedMs);
    }
    samples.sort((a, b) => a - b);
    // A tick is 100 ms: a path that waited for one would have a median near it.
    expect(samples[5]).toBeLessThan(50);
  });

  test.for([
    ['not JSON', '{'],
    ['an unknown shape', '{}'],
    ['a version id that is none', JSON.stringify(acquireBody({ versionId: '../x' }))],
    ['a scaling beyond the maxima', JSON.stringify(acquireBody({ scaling: { concurrency: 1e9 } }))],
    ['no waiting request', JSON.stringify(acquireBody({ waiting: 0 }))],
  ])('refuses %s as bad_request', async ([, body]) => {
    expect((await post(folder.path, '/v1/leases', body ?? '')).code).toBe('bad_request');
  });

  test('refuses a body over the bound and a member name with odd characters', async () => {
    expect((await post(folder.path, '/v1/leases', ' '.repeat(70_000))).code).toBe('body_too_large');
    expect((await post(folder.path, '/v1/holders/a%2F..%0Ab/heartbeat', '{"leases":[]}')).code).toBe(
      'bad_request',
    );
  });

  test('refuses those who wait when it stops', async () => {
    agent.onStart = () => new Promise(() => {});
    await beat();
    const pending = acquire().catch((thrown: unknown) => thrown);
    await waitFor('the acquire to wait', async () => (await status()).versions[0]?.waiting === 1);
    await plane.close(1_000);
    expect(await pending).toMatchObject({ code: 'scheduler_unavailable' });
  });
});

function post(folder: string, path: string, body: string): Promise<{ code: string }> {
  return new Promise((resolve, reject) => {
    const call = httpRequest({ socketPath: join(folder, SOCKET), path, method: 'POST' }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(JSON.parse(text) as { code: string }));
    });
    call.on('error', reject);
    call.end(body);
  });
}
