/** What the hostile account attacks, and the work of the other account that needs the same thing. */
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import type { SharedName } from '#shared/shared-things.ts';
import { callGateway } from '../support/platform.ts';
import { HELLO, PUBLIC } from './functions.ts';
import { pause } from './paced.ts';
import type { BenchPlatform } from './platform.ts';

export interface SharesCase {
  /** Of hostile-attacks.ts. */
  readonly attack: string;
  readonly what: string;
  readonly things: readonly SharedName[];
  /** One piece of work; false when it was refused. */
  readonly work: (bench: Scene, turn: number) => Promise<boolean>;
  readonly pace: Pace;
  /** Among the attacker's answers, when its share was used up. Absent: the share lasts longer than the bench. */
  readonly refusal?: RegExp;
  /** Until the attack has used up its share, where that takes longer than two seconds. */
  readonly runUpMs?: number;
}

/** So many lanes, each with one piece of work every so often, whatever the pieces take. */
interface Pace {
  readonly lanes: number;
  readonly everyMs: number;
}

export interface Scene {
  readonly platform: BenchPlatform;
  /** Of a server that functions may reach. */
  readonly serverPort: number;
}

interface Deployed {
  readonly source: string;
  readonly config: Partial<FunctionConfigInput>;
}

const reach = { egress: { allow: ['*:*'] } };
const slow = { limits: { cpuMs: 60_000, timeoutMs: 60_000, connections: 1_000 } };

/** Of account `default`. */
export const GOOD: Readonly<Record<string, Deployed>> = {
  'good-signed': {
    source: `export default { async fetch(request) { return new Response(String((await request.arrayBuffer()).byteLength)); } };`,
    config: {},
  },
  'good-public': { source: HELLO, config: PUBLIC },
  'good-kv': {
    source: `export default { async fetch(request, env) { await env.KV.put('key', 'x'.repeat(1024)); return new Response('put'); } };`,
    config: { ...PUBLIC, kv: [{ binding: 'KV', namespace: 'bench' }] },
  },
  'good-cold': { source: HELLO, config: { ...PUBLIC, scaling: { isolation: 'request', maxInstances: 50 } } },
  'good-log': {
    source: `export default { fetch(request) { console.log('turn' + new URL(request.url).search); return new Response('logged'); } };`,
    config: PUBLIC,
  },
  'good-names': {
    source: `export default { fetch(request) { return fetch('http://good' + new URL(request.url).search.slice(1)); } };`,
    config: { ...PUBLIC, ...reach },
  },
};

/** So long one request of an attack holds what it has. */
const HELD_MS = 4_000;
/** Answers 429 when a share was used up. @param tries - an expression: promises of what the attack does. */
const tellOf = (tries: string): string => `
    const refused = new Set();
    const all = ${tries}.map((each) => each.catch(({ message }) => refused.add(message)));
    await Promise.race([Promise.all(all), scheduler.wait(${HELD_MS})]);
    return Response.json([...refused], { status: [...refused].some((each) => each.includes('hare')) ? 429 : 200 });`;

/** Of account `hostile`. */
export const BAD: Readonly<Record<string, Deployed>> = {
  vault: { source: HELLO, config: {} },
  public: { source: HELLO, config: PUBLIC },
  queue: {
    source: `export default { async fetch() { await scheduler.wait(500); return new Response('late'); } };`,
    config: { ...PUBLIC, scaling: { maxInstances: 1, concurrency: 1, queueDepth: 10_000 } },
  },
  kv: {
    source: `const piece = new Uint8Array(1 << 20);
export default { async fetch(request, env) {
    const endless = () => {
      let sent = 0;
      return new ReadableStream({ pull(controller) {
        if (sent === 9) return new Promise(() => {});
        sent += 1;
        controller.enqueue(piece.slice());
      } });
    };
    // A put hears of its refusal when all of it was sent: one more tells whether the share is used up.
    const late = async () => { await scheduler.wait(2_000); await env.KV.put('late', 'x'); };${tellOf("[...Array.from({ length: 11 }, (_, index) => env.KV.put('key' + index, endless())), late()]")}
} };`,
    config: { ...PUBLIC, ...slow, kv: [{ binding: 'KV', namespace: 'bench' }] },
  },
  // Every call starts an instance.
  cold: { source: HELLO, config: { ...PUBLIC, scaling: { isolation: 'request', maxInstances: 200 } } },
  'kv-flood': {
    source: `export default { async fetch(request, env) {
    const until = Date.now() + ${HELD_MS};
    await env.KV.put('large', 'x'.repeat(1 << 20));
    const lane = async (index) => {
      for (; Date.now() < until; await scheduler.wait(1)) {
        await env.KV.get('large', 'arrayBuffer').catch(() => undefined);
        await env.KV.list().catch(() => undefined);
        await env.KV.put('own' + index, 'x'.repeat(1 << 16)).catch(() => undefined);
      }
    };
    await Promise.all(Array.from({ length: 64 }, (_, index) => lane(index)));
    return new Response('flooded');
} };`,
    config: { ...PUBLIC, ...slow, kv: [{ binding: 'KV', namespace: 'bench' }] },
  },
  log: {
    source: `export default { async fetch() {
    const until = Date.now() + ${HELD_MS};
    for (; Date.now() < until; await scheduler.wait(5))
      for (let line = 0; line < 100; line += 1) console.log('x'.repeat(1_000));
    return new Response('logged');
} };`,
    config: { ...PUBLIC, ...slow, scaling: { maxInstances: 2, concurrency: 1 } },
  },
  connections: {
    source: `export default { async fetch(request) {
    const target = new URL(request.url).searchParams.get('server');${tellOf("Array.from({ length: 300 }, (_, index) => fetch('http://127.0.0.1:' + target + '/hold?' + index))")}
} };`,
    config: { ...PUBLIC, ...slow, ...reach, scaling: { maxInstances: 3, concurrency: 1 } },
  },
  lookups: {
    source: `export default { async fetch() {
    const id = crypto.randomUUID();
    // One burst would overrun the buffer of the name server's socket, which is nobody's share.
    const ask = async (index) => {
      await scheduler.wait(4 * index);
      await fetch('http://x' + index + '-' + id + '.example/');
    };${tellOf('Array.from({ length: 250 }, (_, index) => ask(index))')}
} };`,
    config: { ...PUBLIC, ...slow, ...reach, scaling: { maxInstances: 3, concurrency: 1 } },
  },
};

const signedPost: SharesCase['work'] = async ({ platform }) => {
  const options = { method: 'POST', body: 'x'.repeat(8_192), sign: true };
  return (await callGateway(platform.gatewayUrl, 'good-signed', options, platform.api.key)).status === 200;
};
const calls =
  (name: string): SharesCase['work'] =>
  async ({ platform }) =>
    (await callGateway(platform.gatewayUrl, name)).status === 200;
/** On a connection of its own. */
const connects: SharesCase['work'] = async ({ platform }) => {
  const headers = { connection: 'close' };
  return (await callGateway(platform.gatewayUrl, 'good-public', { headers })).status === 200;
};
const lists: SharesCase['work'] = async ({ platform }) =>
  (await platform.api.call('GET', 'functions')).status === 200;

const BRISK: Pace = { lanes: 4, everyMs: 80 };
const CALM: Pace = { lanes: 2, everyMs: 200 };

/** A line is logged, and stands in the log within the time of a piece of work. */
const logs: SharesCase['work'] = async ({ platform }, turn) => {
  const path = `/?${turn}.`;
  if ((await callGateway(platform.gatewayUrl, 'good-log', { path })).status !== 200) return false;
  for (let look = 0; look < 20; look += 1) {
    const { body } = await platform.api.call('GET', 'functions/good-log/logs?tail=5');
    if (JSON.stringify(body).includes(`turn?${turn}.`)) return true;
    await pause(50);
  }
  return false;
};

export const SHARES_CASES: readonly SharesCase[] = [
  {
    attack: 'stalled-bodies',
    what: '40 signed bodies of 8 MiB that stall: signed POSTs of 8 KiB',
    things: ['gateway.bodies', 'gateway.requests'],
    work: signedPost,
    pace: BRISK,
    refusal: /share_full/,
  },
  {
    attack: 'tiny-chunks',
    what: '18,000 one-byte chunks a second: signed POSTs of 8 KiB',
    things: ['gateway.bodies'],
    work: signedPost,
    pace: BRISK,
  },
  {
    attack: 'signed-flood',
    what: '250 signed calls a second, a nonce each: signed POSTs of 8 KiB',
    things: ['gateway.nonces'],
    work: signedPost,
    pace: CALM,
    refusal: /replay_window_full/,
    runUpMs: 30_000,
  },
  {
    attack: 'slow-bodies',
    what: '400 bodies that stall on a public function: calls of a public function',
    things: ['gateway.requests', 'gateway.bodies'],
    work: calls('good-public'),
    pace: BRISK,
  },
  {
    attack: 'open-connections',
    what: 'half of all connections held open: calls on a connection each',
    things: ['gateway.connections'],
    work: connects,
    pace: BRISK,
    refusal: /too_many_connections/,
  },
  {
    attack: 'queue',
    what: '400 calls in the queue of one instance: calls of a public function',
    things: ['scheduler.waiters', 'leases.acquires'],
    work: calls('good-public'),
    pace: BRISK,
  },
  {
    attack: 'kv-puts',
    what: '11 KV puts of 9 MiB that stall: KV puts of 1 KiB',
    things: ['kv.bodies', 'kv.requests'],
    work: calls('good-kv'),
    pace: BRISK,
    refusal: /^429/,
  },
  {
    attack: 'cold-starts',
    what: '48 calls in hand that start an instance each: calls that start an instance each',
    things: [
      'scheduler.starts',
      'node.starts',
      'node.startPlaces',
      'node.slots',
      'node.programs',
      'scheduler.waiters',
    ],
    work: calls('good-cold'),
    pace: { lanes: 1, everyMs: 500 },
  },
  {
    attack: 'kv-flood',
    what: '256 reads, lists and writes of KV in hand: KV puts of 1 KiB',
    things: ['kv.requests', 'kv.bodies'],
    work: calls('good-kv'),
    pace: BRISK,
  },
  {
    attack: 'logs',
    what: 'two instances that log 20 MB a second: lines that are logged and read',
    things: ['node.logs'],
    work: logs,
    pace: { lanes: 1, everyMs: 500 },
  },
  {
    attack: 'egress-connections',
    what: '900 outbound requests that are never answered: fetches by a new name each',
    things: ['egress.connections'],
    work: async ({ platform, serverPort }, turn) => {
      const path = `/?-${turn}.example:${serverPort}/`;
      return (await callGateway(platform.gatewayUrl, 'good-names', { path })).status === 200;
    },
    pace: BRISK,
  },
  {
    attack: 'lookups',
    what: '750 look-ups that nobody answers: fetches by a new name each',
    things: ['egress.lookups', 'egress.names'],
    work: async ({ platform, serverPort }, turn) => {
      const path = `/?-${turn}.example:${serverPort}/`;
      return (await callGateway(platform.gatewayUrl, 'good-names', { path })).status === 200;
    },
    pace: BRISK,
    refusal: /^429/,
  },
  {
    attack: 'publishes',
    what: '24 uploads at once whose code loops when tried: publishes',
    things: ['control.trials', 'control.trialPlaces', 'control.uploads'],
    work: async ({ platform }, turn) =>
      (await platform.api.upload('good-new', { modules: { 'index.js': `${HELLO}// ${turn}` } })).status < 300,
    pace: { lanes: 1, everyMs: 500 },
  },
  {
    attack: 'api-requests',
    what: '100 signed API requests a second: API requests',
    things: ['control.requests', 'control.nonces'],
    work: lists,
    pace: { lanes: 2, everyMs: 100 },
  },
  {
    attack: 'api-bodies',
    what: '600 API requests whose bodies stall: API requests',
    things: ['control.requests', 'control.bodies'],
    work: lists,
    pace: { lanes: 2, everyMs: 100 },
    refusal: /share_full/,
  },
];
