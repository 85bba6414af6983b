/**
 * Goal: an instance that opens more than it may is told so, and lives. Method: versions on a real agent, towards servers
 * that accept and never answer.
 */
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import { callSocket, World } from '../../testing/world.ts';

let world: World;
let silent: Server;
beforeAll(async () => {
  silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  world = await World.start({
    slots: 2,
    egress: { allowPrivate: ['127.0.0.0/8'], dnsServers: [], extraCa: undefined },
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  silent?.close();
});

const MANY = 2_500;

/** Each is a promise of what became of it, or throws. */
const KINDS = {
  fetch: "fetch('http://' + TARGET)",
  connect: 'connect(TARGET).opened',
  websocket: `new Promise((resolve, reject) => {
    const socket = new WebSocket('ws://' + TARGET);
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', ({ message }) => reject(new Error(message)));
  })`,
};

describe.for(['standard', 'strict'] as const)('an instance of the tier %s', (tier) => {
  test.for(Object.entries(KINDS))(
    `with ${MANY} unanswered calls of %s at once hears what is too much, and goes on`,
    { timeout: 60_000 },
    async ([kind, attempt], { expect }) => {
      const target = `127.0.0.1:${(silent.address() as AddressInfo).port}`;
      const { path } = await world.run({
        id: `default/many-${tier}-${kind}@1`,
        tier,
        egress: { allow: [target], deny: [], headers: [] },
        limits: { subrequests: 10_000, timeoutMs: 30_000 },
        modules: [
          {
            name: 'index.js',
            content: `import { connect } from 'cloudflare:sockets';
              const TARGET = '${target}';
              const outcomes = { refused: 0, exceeded: 0 };
              export default { async fetch(request) {
                if (request.url.endsWith('/outcomes')) return Response.json(outcomes);
                for (let index = 0; index < ${MANY}; index += 1)
                  (async () => ${attempt})().catch(({ message }) => {
                    outcomes.refused += 1;
                    if (message.includes('connections_exceeded')) outcomes.exceeded += 1;
                  });
                while (outcomes.refused < ${MANY - LIMITS.connectionsDefault}) await scheduler.wait(50);
                return new Response('all but those that may be open were refused');
              } };`,
          },
        ],
      });
      expect((await callSocket(path)).text).toBe('all but those that may be open were refused');
      const { refused, exceeded } = JSON.parse((await callSocket(path, { path: '/outcomes' })).text) as {
        refused: number;
        exceeded: number;
      };
      expect(refused).toBe(MANY - LIMITS.connectionsDefault);
      // Of a socket that the proxy refuses workerd says only that it was refused.
      expect(exceeded).toBeGreaterThanOrEqual(MANY - 2 * LIMITS.connectionsDefault);
    },
  );
});

const HOSTS = 2_200;

test('each of many hosts is answered for, one after the other, as outbound and in caches', async ({
  expect,
}) => {
  const { path } = await world.run({
    id: 'default/hosts@1',
    egress: { allow: [], deny: [], headers: [] },
    limits: { subrequests: 10_000, timeoutMs: 60_000 },
    modules: [
      {
        name: 'index.js',
        content: `export default { async fetch() {
            const counts = { denied: 0, absent: 0 };
            for (let index = 0; index < ${HOSTS}; index += 1) {
              const url = 'http://h' + index + '.example/';
              await fetch(url).catch(({ message }) => { if (message.includes('egress_denied')) counts.denied += 1; });
              if (await caches.default.match(url) === undefined) counts.absent += 1;
            }
            return Response.json(counts);
          } };`,
      },
    ],
  });
  expect(JSON.parse((await callSocket(path)).text)).toEqual({ denied: HOSTS, absent: HOSTS });
});

test('a thousand calls to a binding at once wait for their turn', async ({ expect }) => {
  const { path } = await world.run({
    id: 'default/patient@1',
    tier: 'strict',
    modules: [
      {
        name: 'index.js',
        content: `export default { async fetch() {
            const puts = Array.from({ length: ${MANY} }, (_, index) =>
              caches.default.put('https://example.com/' + index, new Response('x', { headers: { 'cache-control': 'max-age=60' } })));
            await Promise.all(puts);
            const found = await Promise.all(Array.from({ length: ${MANY} }, (_, index) => caches.default.match('https://example.com/' + index)));
            return Response.json(found.filter((response) => response !== undefined).length);
          } };`,
      },
    ],
  });
  expect((await callSocket(path)).text).toBe(String(MANY));
});
