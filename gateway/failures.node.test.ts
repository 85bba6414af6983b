/** What callers see when instances, the scheduler, or the callers themselves go away. */
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, test } from 'vitest';
import { WebSocket, WebSocketServer, type RawData } from 'ws';
import { PlatformError } from '#shared/errors.ts';
import { standStill, waitFor } from '#shared/testing/fakes.ts';
import { busyInstance } from '#shared/testing/instance.node.ts';
import { startHarness, type Harness } from './testing/harness.node.ts';
import { functionItems, type FunctionParts } from './testing/items.ts';

let harness: Harness;
afterEach(() => harness[Symbol.asyncDispose]());

async function start(parts: FunctionParts = {}): Promise<Harness> {
  harness = await startHarness(functionItems('hello', parts));
  return harness;
}

function text(data: RawData): string {
  return Buffer.isBuffer(data) ? data.toString() : '';
}

async function outcome(answer: Response | Promise<Response>): Promise<[number, string]> {
  const response = await answer;
  const text = await response.text();
  const code: unknown = response.status >= 400 ? (JSON.parse(text) as { code: unknown }).code : text;
  return [response.status, String(code)];
}

describe('gateway under failure', () => {
  test.for([
    ['cpu_exceeded', 500],
    ['memory_exceeded', 500],
    ['crashed', 502],
    ['timeout', 504],
  ] as const)('names %s as the reason when the instance ends', async ([reason, status], { expect }) => {
    await start();
    await harness.instance((request) => request.socket.destroy());
    harness.script.exitReport = { ended: true, reason };
    expect(await outcome(harness.request('hello.localhost'))).toEqual([status, reason]);
  });

  test('repeats an idempotent bystander once on another instance', async ({ expect }) => {
    await start();
    harness.script.exitReport = { ended: true, reason: 'cpu_exceeded', blamedRequestId: 'another' };
    await harness.instance((request) => request.socket.destroy());
    await harness.instance((_request, response) => response.end('second'));
    expect(await outcome(harness.request('hello.localhost'))).toEqual([200, 'second']);
    expect(harness.plane.gateway.metrics.snapshot().retries).toBe(1);
  });

  test('does not repeat a POST of a bystander', async ({ expect }) => {
    await start();
    harness.script.exitReport = { ended: true, reason: 'crashed', blamedRequestId: 'another' };
    await harness.instance((request) => request.socket.destroy());
    await harness.instance((_request, response) => response.end('second'));
    expect(await outcome(harness.request('hello.localhost', { method: 'POST', body: 'x' }))).toEqual([
      503,
      'instance_lost',
    ]);
  });

  test('forgets an instance that does not listen and asks for another, bodies included', async ({
    expect,
  }) => {
    await start();
    harness.grant(join(harness.folder, 'nobody.sock'));
    await harness.instance((request, response) => void request.pipe(response));
    expect(await outcome(harness.request('hello.localhost', { method: 'POST', body: 'kept' }))).toEqual([
      200,
      'kept',
    ]);
  });

  test('answers timeout, cancels the call and reports it overdue', async ({ expect }) => {
    await start({ limits: { timeoutMs: 100, cpuMs: 20 } });
    let cancelled = false;
    await harness.instance((_request, response) => void response.on('close', () => (cancelled = true)));
    expect(await outcome(harness.request('hello.localhost'))).toEqual([504, 'timeout']);
    const kinds = (): string[] => [
      ...new Set(harness.script.overdue.map(({ kind, inFlight }) => `${kind} ${inFlight}`)),
    ];
    await waitFor('both kinds of report', () => kinds().length === 2);
    expect(kinds()).toEqual(['cpu 1', 'timeout 1']);
    expect(harness.script.overdue.every(({ ageMs }) => ageMs >= 20)).toBe(true);
    await waitFor('the cancellation', () => cancelled);
  });

  test('tells the agent of an instance that leaves a request waiting, once and long before its budget', async ({
    expect,
  }) => {
    await start({ limits: { timeoutMs: 200, cpuMs: 200 } });
    await harness.instance(() => undefined);
    expect(await outcome(harness.request('hello.localhost'))).toEqual([504, 'timeout']);
    expect(harness.script.slow).toEqual([
      { instanceId: expect.any(String) as string, ageMs: expect.any(Number) as number },
    ]);
    expect(harness.script.slow[0]?.ageMs).toBeLessThan(200);
  });

  test("cancels the instance's work when the client goes", async ({ expect }) => {
    await start();
    let started = false;
    let cancelled = false;
    await harness.instance((_request, response) => {
      started = true;
      response.on('close', () => (cancelled = true));
    });
    const gone = new AbortController();
    const call = harness.request('hello.localhost', { signal: gone.signal }).catch(() => 'aborted');
    await waitFor('the request', () => started);
    gone.abort();
    expect(await call).toBe('aborted');
    await waitFor('the cancellation', () => cancelled);
    await waitFor('the slot', () => harness.plane.gateway.metrics.snapshot().inFlight === 0);
  });

  test('breaks the response off when the instance ends within it', async ({ expect }) => {
    await start();
    await harness.instance((request, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('abc', () => request.socket.destroy());
    });
    const answer = await harness.request('hello.localhost');
    await expect(answer.text()).rejects.toThrow();
    expect(harness.plane.gateway.metrics.snapshot().requests).toEqual({ cut: 1 });
  });

  test('cuts a stream that has been silent for too long', async ({ expect }) => {
    await start({ limits: { streamIdleMs: 100 } });
    await harness.instance((_request, response) => void response.write('first'));
    const answer = await harness.request('hello.localhost');
    await expect(answer.text()).rejects.toThrow();
  });

  test('turns a thrown handler into a problem document', async ({ expect }) => {
    await start();
    await harness.instance((_request, response) =>
      response.writeHead(500, { 'isoplane-outcome': 'function_error' }).end('stack and secrets'),
    );
    expect(await outcome(harness.request('hello.localhost'))).toEqual([500, 'function_error']);
  });

  test('answers that the response is invalid when it sends nonsense', async ({ expect }) => {
    await start();
    const path = join(harness.folder, 'raw.sock');
    const server = createServer(
      (socket) => void socket.on('error', () => undefined).once('data', () => socket.end('nonsense\r\n\r\n')),
    );
    await new Promise<void>((resolve) => server.listen(path, resolve));
    harness.grant(path);
    expect(await outcome(harness.request('hello.localhost'))).toEqual([502, 'response_invalid']);
    server.close();
  });

  test('holds the queue to its bound, and one past it is refused at once', async ({ expect }) => {
    await start({ scaling: { queueDepth: 1, queueTimeoutMs: 300, maxInstances: 1, concurrency: 1 } });
    const held: (() => void)[] = [];
    await harness.instance((_request, response) => void held.push(() => response.end('done')), { slots: 1 });
    const first = outcome(harness.request('hello.localhost'));
    await waitFor('the first', () => held.length === 1);
    const second = outcome(harness.request('hello.localhost'));
    await waitFor('the second to wait', () => harness.script.acquires.length >= 2);
    const third = await harness.request('hello.localhost');
    expect([third.status, third.headers.get('retry-after')]).toEqual([429, '1']);
    expect(await second).toEqual([503, 'queue_timeout']);
    const fourth = outcome(harness.request('hello.localhost'));
    await waitFor(
      'the fourth to be under way',
      () => harness.plane.gateway.metrics.snapshot().inFlight === 2,
    );
    held[0]?.();
    expect(await first).toEqual([200, 'done']);
    await waitFor('the freed slot', () => held.length === 2);
    held[1]?.();
    expect(await fourth).toEqual([200, 'done']);
  });

  test("passes the scheduler's refusal on", async ({ expect }) => {
    await start();
    harness.script.grantError = new PlatformError('quarantined', 'scripted', { retryAfterMs: 9_000 });
    const answer = await harness.request('hello.localhost');
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '9']);
  });

  test('goes on with the instances it knows when the scheduler is gone', async ({ expect }) => {
    await start();
    await harness.instance((_request, response) => response.end('still here'));
    await outcome(harness.request('hello.localhost'));
    await harness.stopScheduler();
    expect(await outcome(harness.request('hello.localhost'))).toEqual([200, 'still here']);
  });

  test('gives a revoked lease back and asks for another', async ({ expect }) => {
    await start();
    await harness.instance((_request, response) => response.end('old'));
    await outcome(harness.request('hello.localhost'));
    harness.script.revoked = ['lease-1'];
    await waitFor(
      'the lease to be left out',
      () => harness.script.heartbeats.at(-1)?.length === 0 && harness.script.heartbeats.length > 1,
    );
    harness.script.revoked = [];
    await harness.instance((_request, response) => response.end('new'));
    expect(await outcome(harness.request('hello.localhost'))).toEqual([200, 'new']);
  });
});

describe('streams through the gateway', () => {
  test('server-sent events pass one by one', async ({ expect }) => {
    await start();
    let next: (() => void) | undefined;
    await harness.instance((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
      let count = 0;
      next = () => void response.write(`data: ${(count += 1)}\n\n`);
    });
    const answer = await harness.request('hello.localhost');
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (let count = 1; count <= 3; count += 1) {
      next?.();
      expect(await reader.read()).toEqual({ done: false, value: `data: ${count}\n\n` });
    }
    await reader.cancel();
  });

  test('a WebSocket echoes, counts as in flight, and ends with its instance', async ({ expect }) => {
    await start();
    const server = await harness.instance((_request, response) => response.end());
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket, request) =>
      socket.on('message', (data) =>
        socket.send(`${String(request.headers['isoplane-request-id']).length} ${text(data)}`),
      ),
    );
    const client = new WebSocket(`ws://127.0.0.1:${harness.plane.port}/chat`, {
      headers: { host: 'hello.localhost' },
    });
    const echoed = new Promise((resolve) => client.once('message', (data) => resolve(text(data))));
    let version: string | undefined;
    client.on('upgrade', (response) => (version = String(response.headers['isoplane-version'])));
    await new Promise((resolve, reject) => client.once('open', resolve).once('error', reject));
    client.send('hi');
    expect([await echoed, version]).toEqual(['36 hi', 'default/hello@1']);
    expect(harness.plane.gateway.metrics.snapshot().inFlight).toBe(1);
    const closed = new Promise((resolve) => client.once('close', resolve));
    for (const socket of sockets.clients) socket.terminate();
    await closed;
    await waitFor('the slot', () => harness.plane.gateway.metrics.snapshot().inFlight === 0);
    sockets.close();
  });

  test('an open WebSocket does not keep the gateway from stopping', async ({ expect }) => {
    await start();
    const server = await harness.instance((_request, response) => response.end());
    const sockets = new WebSocketServer({ server });
    const client = new WebSocket(`ws://127.0.0.1:${harness.plane.port}/`, {
      headers: { host: 'hello.localhost' },
    });
    await new Promise((resolve, reject) => client.once('open', resolve).once('error', reject));
    const closed = new Promise<number>((resolve) => client.once('close', resolve));
    await harness.plane.close(20);
    expect(await closed).toBe(1006);
    sockets.close();
  });

  test('a WebSocket is refused like any other call', async ({ expect }) => {
    await start({ auth: { mode: 'signed' } });
    const client = new WebSocket(`ws://127.0.0.1:${harness.plane.port}/`, {
      headers: { host: 'hello.localhost' },
    });
    const status = await new Promise((resolve) => {
      client.on('unexpected-response', (_request, response) => resolve(response.statusCode));
      client.on('error', () => undefined);
    });
    client.terminate();
    expect(status).toBe(401);
  });

  test('an instance whose queue of connections is full is busy, not lost: its lease stays', async ({
    expect,
  }) => {
    await start();
    const path = join(harness.folder, 'busy.sock');
    using busy = await busyInstance(path);
    harness.grant(path);
    const answering = harness.request('hello.localhost');
    // Longer than what an instance that is gone would be looked for.
    await waitFor('tries', () => harness.plane.gateway.metrics.snapshot().retries >= 8);
    busy.goOn();
    expect(await (await answering).text()).toBe('at last');
    // One lease was granted, and it was enough.
    expect(harness.script.acquires).toHaveLength(1);
  });

  test('a call that nothing was sent of within its wait is told that the instance is busy', async ({
    expect,
  }) => {
    await start({ scaling: { queueTimeoutMs: 100 } });
    const path = join(harness.folder, 'busy.sock');
    using busy = await busyInstance(path);
    harness.grant(path);
    const answer = await harness.request('hello.localhost');
    const { code } = (await answer.json()) as { code: string };
    expect([answer.status, code, answer.headers.get('retry-after')]).toEqual([503, 'instance_busy', '1']);
    busy.goOn();
    expect(await outcome(harness.request('hello.localhost'))).toEqual([200, 'at last']);
    expect(harness.script.acquires).toHaveLength(1);
  });

  test('a slow client holds the instance back', async ({ expect }) => {
    await start();
    let written = 0;
    let blocked = false;
    await harness.instance((_request, response) => {
      const chunk = Buffer.alloc(65_536);
      const pump = (): void => {
        blocked = false;
        while (written < 400) {
          written += 1;
          if (response.write(chunk)) continue;
          blocked = true;
          return void response.once('drain', pump);
        }
        response.end();
      };
      pump();
    });
    const socket: Socket = harness.raw();
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n');
    await standStill(
      'the instance',
      () => written,
      () => blocked,
    );
    expect(written).toBeLessThan(300);
    let received = 0;
    socket.on('data', (chunk) => (received += chunk.byteLength));
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
    expect(received).toBeGreaterThan(400 * 65_536);
  });
});
