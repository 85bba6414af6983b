/** Plain requests to a binding are read without Node's server, which gets every other connection; the answers are the same. */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { systemTimers } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { FakeClock, memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { BindingFronts } from './front.ts';
import { kvServer, servePlainKv, type KvServerDeps } from './kv/serve.ts';
import { KvStore } from './kv/store.ts';
import { closeNow, listenAt } from './listen.ts';

interface Client extends AsyncDisposable {
  readonly socket: Socket;
  readonly state: { text: string; closed: boolean };
  /** Sends, and waits for the answer. */
  ask(request: string): Promise<string>;
}

interface World extends AsyncDisposable {
  /** Requests that Node's server has seen. */
  readonly atNode: { count: number };
  readonly clock: FakeClock;
  client(): Client;
  close(): void;
}

async function openWorld(): Promise<World> {
  const folder = await tempFolder();
  const clock = new FakeClock();
  const store = await KvStore.open({
    url: `file:${join(folder.path, 'kv.db')}`,
    authToken: undefined,
    bytesMax: 1e9,
    clock,
    timers: systemTimers,
    random: Math.random,
  });
  const deps: KvServerDeps = {
    store,
    clock,
    timers: systemTimers,
    log: memoryLog(),
    requests: new Shares('kv.requests'),
    bodies: new Shares('kv.bodies'),
    line: { run: async (_account, work) => work() },
  };
  const target = { namespaceId: 'n', account: 'a' };
  const fronts = new BindingFronts({ clock, timers: clock });
  const server = kvServer(deps, target);
  fronts.putBefore(server, servePlainKv(deps, target));
  const atNode = { count: 0 };
  server.prependListener('request', () => void (atNode.count += 1));
  const path = join(folder.path, 'kv.sock');
  await listenAt(server, { path, owner: undefined });
  return {
    atNode,
    clock,
    close: () => closeNow(server),
    client: () => {
      const socket = connect(path);
      const state = { text: '', closed: false };
      socket.on('data', (chunk) => (state.text += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      socket.on('close', () => (state.closed = true));
      return {
        socket,
        state,
        ask: async (request) => {
          state.text = '';
          socket.write(request, 'latin1');
          await waitFor('an answer', () => state.closed || isWhole(state.text));
          return state.text;
        },
        [Symbol.asyncDispose]: async () => void socket.destroy(),
      };
    },
    async [Symbol.asyncDispose]() {
      closeNow(server);
      fronts.close();
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n');
  return end >= 0 && text.length >= end + 4 + Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
}

const ask = (line: string, lines: readonly string[] = [], body = ''): string =>
  [`${line} HTTP/1.1`, 'Host: fake-host', ...lines, '', body].join('\r\n');
const put = (key: string, value: string): string =>
  ask(
    `PUT /${key}?urlencoded=true`,
    [`Content-Length: ${value.length}`, 'CF-KV-Metadata: {"a":"\u00c3\u00bc"}'],
    value,
  );
const get = (key: string): string => ask(`GET /${key}?urlencoded=true`);
/** Node's server alone reads it: the second of two spellings of one request. */
const odd = (request: string): string =>
  request.replace('Host: fake-host', 'Host: fake-host\r\nTrailer: none');

const WITHOUT_DATE = /^date: .*\r\n/im;

describe('a plain request to a binding', () => {
  test.for([
    ['a put', put('k', 'value')],
    ['a put of nothing', put('k', '')],
    ['a get', get('kept')],
    ['a get of what is not there', get('none')],
    ['a list', ask('GET /?key_count_limit=10')],
    ['a bulk read', ask('POST /bulk/get', ['Content-Length: 17'], '{"keys":["kept"]}')],
    ['a delete', ask('DELETE /k?urlencoded=true', ['Content-Length: 0'])],
    ['a key that is refused', get('a'.repeat(600))],
    ['a method that is refused', ask('PATCH /k', ['Content-Length: 0'])],
    ['a body that is refused', ask('POST /bulk/get', ['Content-Length: 3'], 'not')],
  ] as const)('is answered as by Node: %s', async ([, request], { expect }) => {
    await using world = await openWorld();
    await using first = world.client();
    await using second = world.client();
    await first.ask(put('kept', 'value'));
    expect(world.atNode.count).toBe(0);
    const plain = await first.ask(request);
    expect(world.atNode.count).toBe(0);
    const byNode = await second.ask(odd(request));
    expect(world.atNode.count).toBe(1);
    expect(plain.replace(WITHOUT_DATE, '')).toBe(byNode.replace(WITHOUT_DATE, ''));
    expect(plain).toMatch(/^HTTP\/1\.1 \d{3} /);
    // And the connection goes on.
    expect(await first.ask(get('kept'))).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\nvalue$/);
  });

  test('may follow and be followed by others on its connection', async ({ expect }) => {
    await using world = await openWorld();
    await using client = world.client();
    expect(await client.ask(put('k', 'one'))).toContain(' 200 ');
    const chunked = ask('PUT /k?urlencoded=true', ['Transfer-Encoding: chunked'], '3\r\ntwo\r\n0\r\n\r\n');
    expect(await client.ask(chunked)).toContain(' 200 ');
    expect(await client.ask(get('k'))).toMatch(/two$/);
    expect(world.atNode.count).toBe(2);
  });

  test('ends with its instance, idle or half sent', async ({ expect }) => {
    await using world = await openWorld();
    await using idle = world.client();
    await using half = world.client();
    await using silent = world.client();
    await idle.ask(get('k'));
    half.socket.write('GET /k HT');
    await waitFor('all to be connected', () => !silent.socket.connecting);
    world.close();
    await waitFor('the ends', () => [idle, half, silent].every(({ state }) => state.closed));
    expect(idle.state.text).toContain(' 404 ');
  });

  test('ends a minute after the last one', async ({ expect }) => {
    await using world = await openWorld();
    await using asked = world.client();
    await using silent = world.client();
    await asked.ask(get('k'));
    world.clock.advance(55_000);
    expect(await asked.ask(get('k'))).toContain(' 404 ');
    world.clock.advance(10_000);
    await waitFor('the silent one to end', () => silent.state.closed);
    expect(await asked.ask(get('k'))).toContain(' 404 ');
    world.clock.advance(70_000);
    await waitFor('the end', () => asked.state.closed);
  });

  test('is the last of its connection where more than 64 are open', async ({ expect }) => {
    await using world = await openWorld();
    await using client = world.client();
    expect(await client.ask(get('k'))).toMatch(/connection: keep-alive/i);
    const others = Array.from({ length: 64 }, () => world.client());
    const answers = await Promise.all(others.map((other) => other.ask(get('k'))));
    const told = answers.findIndex((answer) => /connection: close/i.test(answer));
    expect(told).toBeGreaterThanOrEqual(0);
    await waitFor('its end', () => others[told]?.state.closed);
    for (const { socket } of others) socket.destroy();
  });
});
