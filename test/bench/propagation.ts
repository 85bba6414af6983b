/** How fast a decision of the owner is served: publish with a ready bundle, and rollback. */
import { waitFor } from '#shared/testing/fakes.ts';
import { ownerOfPeer } from '../support/proc.ts';
import { getRequest, RawConnection } from '../support/raw.ts';
import { PUBLIC, saying } from './functions.ts';
import { BenchPlatform } from './platform.ts';
import { ms, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { summarise } from './statistics.ts';

const ATTEMPTS_MAX = 64;
const SERVED_WITHIN_MS = 30_000;

/** One connection to each gateway process: they share a port, so the kernel chooses and we look. */
async function connectionPerGateway(platform: BenchPlatform): Promise<RawConnection[]> {
  const found = new Map<number, RawConnection>();
  for (let attempt = 0; attempt < ATTEMPTS_MAX && found.size < platform.gatewayPids.length; attempt += 1) {
    const connection = await RawConnection.open(platform.gatewayUrl);
    const owner = await waitFor('the gateway to accept', () =>
      ownerOfPeer(connection.localPort, platform.gatewayPids),
    );
    if (found.has(owner)) connection[Symbol.dispose]();
    else found.set(owner, connection);
  }
  if (found.size < platform.gatewayPids.length) throw new Error('a gateway was never reached');
  return [...found.values()];
}

/** Asks on every connection without pause until all have answered `expected`; ms since `begin`. */
async function servedEverywhere(
  connections: readonly RawConnection[],
  host: string,
  expected: string,
  begin: number,
): Promise<number> {
  const request = getRequest(host);
  const times = await Promise.all(
    connections.map(async (connection) => {
      for (;;) {
        const answer = await connection.send(request);
        const elapsed = performance.now() - begin;
        if (answer.status !== 200) throw new Error(`${host} answered ${answer.status}: ${answer.body}`);
        if (answer.body === expected) return elapsed;
        if (elapsed > SERVED_WITHIN_MS) throw new Error(`${host} serves ${answer.body}, not ${expected}`);
      }
    }),
  );
  return Math.max(...times);
}

export async function benchPublish(scale: BenchScale): Promise<Row[]> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  const { api } = platform;
  await api.deploy('published', { modules: { 'index.js': saying('v0') }, config: PUBLIC });
  const connections = await connectionPerGateway(platform);
  const host = platform.hostOf('published');
  await servedEverywhere(connections, host, 'v0', performance.now());
  const fromPost: number[] = [];
  const fromReply: number[] = [];
  for (let round = 1; round <= scale.publishes; round += 1) {
    await platform.slotsReady();
    const text = `v${round}`;
    const begin = performance.now();
    const published = api.publish('published', { modules: { 'index.js': saying(text) }, config: PUBLIC });
    let repliedMs = 0;
    const replied = published.then(() => (repliedMs = performance.now() - begin));
    const served = await servedEverywhere(connections, host, text, begin);
    await replied;
    fromPost.push(served);
    fromReply.push(Math.max(0, served - repliedMs));
  }
  for (const connection of connections) connection[Symbol.dispose]();
  const post = summarise(fromPost);
  const reply = summarise(fromReply);
  return [
    {
      name: 'publish sent → served: p50',
      absolute: `${ms(post.p50)} (p99 ${ms(post.p99)}; after the 201: p50 ${ms(reply.p50)})`,
      goal: '≤ 150 ms',
      reached: post.p50 <= 150,
      details: { fromPost, fromReply },
    },
  ];
}

export async function benchRollback(scale: BenchScale): Promise<Row[]> {
  const rows: Row[] = [];
  for (const gateways of [1, 2]) {
    await using platform = await BenchPlatform.start({ gateways, sandbox: scale.sandbox });
    const { api } = platform;
    for (const text of ['one', 'two'])
      await api.deploy('rolled', { modules: { 'index.js': saying(text) }, config: PUBLIC });
    const connections = await connectionPerGateway(platform);
    const host = platform.hostOf('rolled');
    await servedEverywhere(connections, host, 'two', performance.now());
    const times: number[] = [];
    for (let round = 0; round < scale.rollbacks; round += 1) {
      const toVersion = round % 2 === 0 ? 1 : 2;
      const begin = performance.now();
      const decided = api.rollback('rolled', toVersion);
      times.push(await servedEverywhere(connections, host, toVersion === 1 ? 'one' : 'two', begin));
      await decided;
    }
    for (const connection of connections) connection[Symbol.dispose]();
    const { p50, p99 } = summarise(times);
    rows.push({
      name: `rollback sent → served by ${gateways === 1 ? 'the gateway' : `all ${gateways} gateways`}: p99`,
      absolute: `${ms(p99)} of ${times.length} (p50 ${ms(p50)})`,
      goal: '≤ 100 ms',
      reached: p99 <= 100,
      details: times,
    });
  }
  return rows;
}
