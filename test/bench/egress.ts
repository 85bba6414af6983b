/**
 * Outbound requests of a function through the node's proxy, against Node's own `fetch` of the same server in
 * interleaved rounds; and what is left open afterwards.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { waitFor } from '#shared/testing/fakes.ts';
import { fromEgressSchema, type FromEgress, type ToEgress } from './egress-messages.ts';
import { PUBLIC } from './functions.ts';
import { LoadGenerator } from './load.ts';
import { BenchPlatform } from './platform.ts';
import type { Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { median } from './statistics.ts';

const CONNECTIONS = 16;
/** Fetches of one call, one after another: so that the proxy is measured and not the way in. */
const FETCHES_PER_CALL = 50;
const LEAK_REQUESTS = 10_000;
/** Idle connections are kept for 5 s. */
const SETTLE_MS = 15_000;

class EgressProcess implements Disposable {
  readonly #child: ChildProcess = fork(join(import.meta.dirname, 'egress-process.ts'), [], {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });

  ask<T extends FromEgress['type']>(
    message: ToEgress,
    expected: T,
  ): Promise<Extract<FromEgress, { type: T }>> {
    return new Promise((resolve, reject) => {
      this.#child.once('message', (raw) => {
        const answer = fromEgressSchema.parse(raw);
        if (answer.type === expected) resolve(answer as Extract<FromEgress, { type: T }>);
        else reject(new Error(`unexpected answer ${answer.type}`));
      });
      this.#child.send(message);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}

const fetching = (url: string, count: number): string => `export default { async fetch() {
  for (let i = 0; i < ${count}; i += 1) await (await fetch(${JSON.stringify(url)})).text();
  return new Response('done');
} };`;

interface Round {
  readonly direct: number;
  readonly many: number;
  readonly single: number;
  /** CPU time of the whole platform per fetch of `many`, in µs. */
  readonly cpuUs: number;
}

export async function benchEgress(scale: BenchScale): Promise<Row[]> {
  using target = new EgressProcess();
  using client = new EgressProcess();
  const { port } = await target.ask({ type: 'serve' }, 'listening');
  const url = `http://127.0.0.1:${port}/`;
  await using platform = await BenchPlatform.start({
    gateways: 1,
    sandbox: scale.sandbox,
    egressAllowPrivate: [`127.0.0.1:${port}`],
  });
  using load = new LoadGenerator();
  const egress = { allow: [`127.0.0.1:${port}`] };
  // One instance: the figure is that of one function, not of as many processes as there are cores.
  const config = { ...PUBLIC, egress, scaling: { maxInstances: 1 }, limits: { cpuMs: 60_000 } };
  const names = { many: FETCHES_PER_CALL, single: 1 };
  for (const [name, count] of Object.entries(names))
    await platform.api.deploy(name, { modules: { 'index.js': fetching(url, count) }, config });
  const count = async (): Promise<Extract<FromEgress, { type: 'counted' }>> =>
    target.ask({ type: 'count' }, 'counted');
  const proxied = async (
    name: string,
    durationMs: number,
  ): Promise<{ readonly perSecond: number; readonly cpuUs: number }> => {
    const { requestsPerSecond, cpuUsPerRequest } = await load.run(
      {
        url: platform.gatewayUrl,
        host: platform.hostOf(name),
        connections: CONNECTIONS,
        durationMs,
        plan: { kind: 'same', headers: {} },
      },
      platform.rootPid,
    );
    const fetches = name === 'many' ? FETCHES_PER_CALL : 1;
    return { perSecond: requestsPerSecond * fetches, cpuUs: cpuUsPerRequest / fetches };
  };
  const direct = async (durationMs: number): Promise<number> =>
    (await client.ask({ type: 'fetch', url, connections: CONNECTIONS, durationMs }, 'fetched')).perSecond;
  for (const warmUp of [direct, ...Object.keys(names).map((name) => (ms: number) => proxied(name, ms))])
    await warmUp(scale.firstWarmUpMs);
  const rounds: Round[] = [];
  for (let round = 0; round < scale.warmRounds; round += 1) {
    const directly = await direct(scale.warmRoundMs);
    const many = await proxied('many', scale.warmRoundMs);
    const single = await proxied('single', scale.warmRoundMs);
    rounds.push({
      direct: directly,
      many: many.perSecond,
      single: single.perSecond,
      cpuUs: many.cpuUs,
    });
    process.stderr.write(`  egress: round ${round + 1} of ${scale.warmRounds}\n`);
  }
  // Its own idle connections are not what is counted next.
  client[Symbol.dispose]();
  while ((await count()).requests < LEAK_REQUESTS) await proxied('many', scale.warmRoundMs);
  const leaked = await waitFor(
    'sockets to close',
    async () => (await count()).openSockets === 0,
    SETTLE_MS,
  ).then(
    () => 0,
    async () => (await count()).openSockets,
  );
  return rowsOf(rounds, leaked, (await count()).requests);
}

function rowsOf(rounds: readonly Round[], leaked: number, requests: number): Row[] {
  const middle = (read: (round: Round) => number): number => median(rounds.map(read));
  const [directly, many, single] = [middle((r) => r.direct), middle((r) => r.many), middle((r) => r.single)];
  return [
    {
      name: `egress: fetches of a function ÷ fetch from Node, ${CONNECTIONS} at once`,
      ratio: many / directly,
      absolute: `${Math.round(many)}/s, Node ${Math.round(directly)}/s`,
      goal: '≥ 0.4',
      reached: many / directly >= 0.4,
      details: rounds,
    },
    {
      name: 'egress: the same, one fetch per request through the gateway',
      ratio: single / directly,
      absolute: `${Math.round(single)}/s`,
      details: undefined,
    },
    {
      name: 'egress: CPU per fetch, all of the platform',
      absolute: `${middle((r) => r.cpuUs).toFixed(0)} µs`,
      details: undefined,
    },
    {
      name: `egress: sockets leaked after ${requests} requests`,
      absolute: String(leaked),
      goal: '0',
      reached: leaked === 0,
      details: undefined,
    },
  ];
}
