/**
 * Goal: carrying works for whoever asks, here for a job: a request made of plain values, a response that is collected.
 * Method: real leases, sockets and processes; the scheduler, the agent and the instances are scripted.
 */
import type { RequestListener } from 'node:http';
import { afterEach, beforeEach, describe, test } from 'vitest';
import type { ExitReport } from '../contracts/nodes.ts';
import { PlatformError } from '../errors.ts';
import { waitFor } from '../testing/fakes.ts';
import { busyInstance } from '../testing/instance.node.ts';
import { Collector, kept, Stream, World } from '../testing/job.node.ts';
import { tempFolder } from '../testing/temp.node.ts';

let world: World;
beforeEach(async () => {
  world = new World(await tempFolder());
});
afterEach(() => world[Symbol.asyncDispose]());

const echoes: RequestListener = (request, response) => {
  response.setHeader('isoplane-inside', 'stays here');
  response.setHeader('x-was', `${request.method} ${request.url} ${String(request.headers['x-job'])}`);
  request.pipe(response);
};
const dies: RequestListener = (request) => {
  request.resume();
  request.on('end', () => request.socket.destroy());
};
const BYSTANDER: ExitReport = { ended: true, reason: 'cpu_exceeded', blamedRequestId: 'another' };

describe('a job', () => {
  test('is carried to an instance, and its response comes back', async ({ expect }) => {
    await world.instance(echoes);
    const sink = new Collector();
    expect(await world.carry({ body: kept('the work'), sink })).toBe('complete');
    expect([sink.status, sink.text, sink.how]).toEqual([200, 'the work', 'ended']);
    const { headers } = sink;
    expect(headers[headers.indexOf('x-was') + 1]).toBe('POST /work 7');
    expect([headers.includes('x-carried'), headers.includes('isoplane-inside')]).toEqual([true, false]);
    expect([world.counted, world.again, world.unsent]).toEqual([[[1, 0]], 0, 0]);
  });

  test('holds the instance back while its receiver takes no more', async ({ expect }) => {
    let written = 0;
    await world.instance((_request, response) => {
      const chunk = Buffer.alloc(65_536);
      const pump = (): void => {
        for (; written < 100; written += 1)
          if (!response.write(chunk)) return void response.once('drain', () => ((written += 1), pump()));
        response.end();
      };
      pump();
    });
    const sink = new Collector();
    sink.room = false;
    const carrying = world.carry({ sink });
    await waitFor('the first bytes', () => sink.text.length > 0);
    expect(written).toBeLessThan(100);
    sink.room = true;
    sink.listener?.onReceiverReady();
    expect(await carrying).toBe('complete');
    expect(sink.text).toHaveLength(100 * 65_536);
  });

  test('whose receiver goes takes its request along', async ({ expect }) => {
    let closed = false;
    await world.instance((_request, response) => {
      response.on('close', () => (closed = true));
      response.write('first');
    });
    const sink = new Collector();
    const carrying = world.carry({ sink });
    await waitFor('the first bytes', () => sink.text === 'first');
    sink.listener?.onReceiverGone();
    expect(await carrying).toBe('client_gone');
    await waitFor('the end at the instance', () => closed);
  });

  test('has a receiver that may refuse the head: then nothing is answered', async ({ expect }) => {
    await world.instance(echoes);
    const sink = new Collector();
    sink.refusesHead = true;
    expect(await world.carry({ sink })).toBe('response_invalid');
    expect(sink.how).toBe('open');
  });

  test('that fails in a way that nobody foresaw is taken for sent', async ({ expect }) => {
    await world.instance(echoes);
    const sink = new Collector();
    Object.defineProperty(sink, 'gone', {
      get: () => {
        throw new Error('unforeseen');
      },
    });
    expect(await world.carry({ sink })).toBe('Error: unforeseen');
    expect(world.unsent).toBe(0);
  });

  test('is cut off when its instance ends within the answer, and that is told', async ({ expect }) => {
    await world.instance((request, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('abc', () => request.socket.destroy());
    });
    const sink = new Collector();
    expect(await world.carry({ sink })).toBe('cut');
    expect([sink.how, world.told, world.counted]).toEqual(['cut', ['broken r-1'], [[1, 1]]]);
  });
});

describe('a body', () => {
  test('that streams is held to the bound of the function', async ({ expect }) => {
    await world.instance((request) => void request.resume());
    const body = new Stream();
    const carrying = world.carry({ body, limits: { requestBodyBytes: 10 } });
    const sink = await waitFor('the instance to take it', () => body.sink);
    sink.chunk(Buffer.alloc(10));
    sink.chunk(Buffer.alloc(1));
    expect(await carrying).toBe('body_too_large');
  });

  test('that was kept for a version that takes more is refused by one that takes less', async ({
    expect,
  }) => {
    await world.instance(echoes);
    expect(await world.carry({ body: kept('12345678901'), limits: { requestBodyBytes: 10 } })).toBe(
      'body_too_large',
    );
  });

  test('that fails on its way ends the request with its own code', async ({ expect }) => {
    await world.instance((request) => void request.resume());
    const body = new Stream();
    const carrying = world.carry({ body });
    const sink = await waitFor('the instance to take it', () => body.sink);
    sink.failed(new PlatformError('body_too_slow', 'scripted'));
    expect(await carrying).toBe('body_too_slow');
  });
});

describe('an answer of an instance', () => {
  test.for([
    ['a status 500 without a word of the entry module', {}, 'function_error', ['broken r-1']],
    ['a thrown error', { 'isoplane-outcome': 'function_error' }, 'function_error', []],
    ['a status 500 of the function', { 'isoplane-outcome': 'answered' }, 'complete', []],
  ] as const)('%s', async ([_what, headers, end, told], { expect }) => {
    await world.instance((_request, response) => response.writeHead(500, headers).end('inside'));
    expect(await world.carry()).toBe(end);
    expect(world.told).toEqual(told);
  });

  test('that is no HTTP is invalid, and nobody asks how the instance is', async ({ expect }) => {
    await world.says('nonsense\r\n\r\n');
    expect(await world.carry()).toBe('response_invalid');
    expect(world.told).toEqual([]);
  });

  test('that does not come is given up, and the agent is told', async ({ expect }) => {
    await world.instance(() => undefined);
    expect(await world.carry({ limits: { timeoutMs: 150, cpuMs: 150 } })).toBe('timeout');
    expect(world.told.at(-1)).toBe('overdue timeout');
  });

  test('that ends before it began, of an instance that lives, is the function’s own fault', async ({
    expect,
  }) => {
    await world.instance(dies);
    expect(await world.carry()).toBe('function_error');
    expect(world.told).toEqual(['exit?', 'broken r-1']);
  });
});

describe('an instance that ended', () => {
  beforeEach(() => {
    world.exit = BYSTANDER;
  });

  test('has a repeatable request sent once more, with the body that was kept', async ({ expect }) => {
    await world.instance(dies);
    await world.instance(echoes);
    const sink = new Collector();
    expect(await world.carry({ body: kept('paid once'), repeatable: true, sink })).toBe('complete');
    expect([sink.text, world.again, world.counted]).toEqual(['paid once', 1, [[1, 0]]]);
  });

  test('has none sent a third time', async ({ expect }) => {
    for (let count = 0; count < 3; count += 1) await world.instance(dies);
    expect(await world.carry({ body: kept('x'), repeatable: true })).toBe('instance_lost');
    expect(world.acquires).toHaveLength(2);
  });

  test('has none sent again that may not be, or whose body has gone', async ({ expect }) => {
    await world.instance(dies);
    expect(await world.carry({ body: kept('x') })).toBe('instance_lost');
    await world.instance(dies);
    const body = new Stream();
    const carrying = world.carry({ body, repeatable: true });
    (await waitFor('the instance to take it', () => body.sink)).end();
    expect(await carrying).toBe('instance_lost');
  });

  test('and listens no more costs its lease, and the alias is asked again', async ({ expect }) => {
    world.dead();
    await world.instance(echoes);
    expect(await world.carry({ versions: [1, 2] })).toBe('complete');
    expect(world.acquires).toEqual(['default/job@1', 'default/job@2']);
    expect([world.told, world.unsent]).toEqual([[], 0]);
  });

  test('is looked for a while, and then nothing of the request was sent', async ({ expect }) => {
    for (let count = 0; count < 6; count += 1) world.dead();
    expect(await world.carry()).toBe('instance_lost');
    expect([world.acquires.length, world.again, world.unsent, world.counted]).toEqual([6, 5, 1, [[0, 1]]]);
  });
});

describe('an instance that takes no more connections', () => {
  test('is waited for longer than one that is gone, on the lease that there is', async ({ expect }) => {
    const path = world.path('busy.sock');
    using busy = await busyInstance(path);
    world.grant(path, { requests: 1 });
    const sink = new Collector();
    const carrying = world.carry({ sink });
    await waitFor('tries', () => world.again >= 8);
    busy.goOn();
    expect(await carrying).toBe('complete');
    // The tries have cost nothing of its budget of one request.
    expect([sink.text, world.acquires.length, world.told]).toEqual(['at last', 1, []]);
  });

  test('is waited for no longer than for a place: then it is said to be busy, and its lease stays', async ({
    expect,
  }) => {
    const path = world.path('busy.sock');
    using busy = await busyInstance(path);
    world.grant(path);
    expect(await world.carry({ scaling: { queueTimeoutMs: 50 } })).toBe('instance_busy');
    expect([world.unsent, world.told]).toEqual([1, []]);
    busy.goOn();
    expect(await world.carry()).toBe('complete');
    expect(world.acquires).toHaveLength(1);
  });
});
