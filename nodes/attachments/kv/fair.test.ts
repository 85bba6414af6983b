/** The KV server on a real database: reads of one account do not wait for all those that another has sent. */
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { systemClock, systemTimers, type Clock } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { FakeClock, memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { Line } from './line.ts';
import { kvServer } from './serve.ts';
import { KvStore } from './store.ts';

const VALUE_BYTES = 4 * 1_048_576;
/** Of the hostile account, each one read after the other. */
const LANES = 64;
const READS = 10;

function get(socketPath: string, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ socketPath, path, agent: false }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    sent.on('error', reject);
    sent.end();
  });
}

const key = (name: string): Uint8Array => new TextEncoder().encode(name);
const large = { value: new Uint8Array(VALUE_BYTES), metadata: undefined, expires: undefined };

function openStore(folder: string, clock: Clock = systemClock): Promise<KvStore> {
  return KvStore.open({
    url: `file:${join(folder, 'kv.db')}`,
    authToken: undefined,
    bytesMax: 1e9,
    clock,
    timers: systemTimers,
    random: Math.random,
  });
}

describe('KvStore', () => {
  test('removes large values that have expired a few at a time', async ({ expect }) => {
    await using folder = await tempFolder();
    const clock = new FakeClock();
    const store = await openStore(folder.path, clock);
    const expires = Math.floor(clock.wallMs() / 1_000) + 60;
    for (let index = 0; index < 6; index += 1) await store.put('n', key(`k${index}`), { ...large, expires });
    clock.advance(61_000);
    expect([await store.sweep(), await store.sweep(), await store.sweep()]).toEqual([true, true, false]);
    await store.close();
  });
});

describe('kvServer()', () => {
  test.for(['/large?urlencoded=true', '/?key_count_limit=1000'])(
    'reads for one account while another reads %s as fast as it can',
    async (attack, { expect }) => {
      await using folder = await tempFolder();
      const store = await openStore(folder.path);
      const small = { value: new Uint8Array(10), metadata: '{"some":"metadata"}', expires: undefined };
      await store.put('hostile', key('large'), large);
      await Promise.all(
        Array.from({ length: 1_000 }, (_, index) => store.put('hostile', key(`k${index}`), small)),
      );
      await store.put('good', key('small'), small);
      const deps = {
        store,
        clock: systemClock,
        timers: systemTimers,
        log: memoryLog(),
        requests: new Shares('kv.requests'),
        bodies: new Shares('kv.bodies'),
        line: new Line({
          clock: systemClock,
          breathe: () => new Promise((resolve) => setImmediate(resolve)),
        }),
      };
      const servers = ['hostile', 'good'].map((account) => kvServer(deps, { namespaceId: account, account }));
      const [hostile, good] = ['hostile', 'good'].map((name) => join(folder.path, `${name}.sock`)) as [
        string,
        string,
      ];
      for (const [index, server] of servers.entries())
        await new Promise<void>((resolve) => server.listen([hostile, good][index], resolve));
      const over = new AbortController();
      let answered = 0;
      const lane = async (): Promise<void> => {
        for (; !over.signal.aborted; answered += 1) await get(hostile, attack);
      };
      const lanes = Promise.all(Array.from({ length: LANES }, lane));
      await waitFor('the attack', () => answered >= LANES);
      const before = answered;
      for (let read = 0; read < READS; read += 1) expect(await get(good, '/small?urlencoded=true')).toBe(200);
      const beside = answered - before;
      over.abort();
      await lanes;
      // In the order of their arrival each would have waited for a read of every lane.
      expect(beside).toBeLessThan((LANES * READS) / 4);
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      await store.close();
    },
  );
});
