/** What logging costs the function that logs, and what a flood costs its neighbours and the agent. */
import { getRequest, RawConnection } from '../support/raw.ts';
import { HELLO, PUBLIC } from './functions.ts';
import { LoadGenerator, type Measured } from './load.ts';
import type { LoadJob } from './load-messages.ts';
import { BenchPlatform } from './platform.ts';
import { mib, ms, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { median } from './statistics.ts';

const CHATTY = `export default { fetch(request) {
  console.log('request', request.method, request.url);
  return new Response('Hello, world!\\n');
} };\n`;

/** 1 MB/s in lines of 1 KB, ten times a second, and then says how much it really wrote. */
const FLOOD = `export default { async fetch(request) {
  const forMs = Number(new URL(request.url).searchParams.get('ms'));
  const line = 'x'.repeat(1_000);
  const beganMs = Date.now();
  let lines = 0;
  while (Date.now() - beganMs < forMs) {
    for (let index = 0; index < 100; index += 1) console.log(line);
    lines += 100;
    await scheduler.wait(Math.max(0, beganMs + lines - Date.now()));
  }
  return new Response(String(lines / (Date.now() - beganMs)));
} };\n`;
const CONNECTIONS = 16;

export async function benchLogs(scale: BenchScale): Promise<Row[]> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  using load = new LoadGenerator();
  await platform.api.deploy('silent', { modules: { 'index.js': HELLO }, config: PUBLIC });
  await platform.api.deploy('chatty', { modules: { 'index.js': CHATTY }, config: PUBLIC });
  const run = (name: string, durationMs: number): Promise<Measured> => {
    const plan = { kind: 'same', headers: {} } as const;
    const host = platform.hostOf(name);
    const job: LoadJob = { url: platform.gatewayUrl, host, connections: CONNECTIONS, durationMs, plan };
    return load.run(job, platform.rootPid);
  };
  for (const name of ['silent', 'chatty']) await run(name, scale.firstWarmUpMs);
  const rounds: { readonly silent: Measured; readonly chatty: Measured }[] = [];
  for (let round = 0; round < scale.warmRounds; round += 1) {
    const first = round % 2 === 0 ? await run('silent', scale.warmRoundMs) : undefined;
    const chatty = await run('chatty', scale.warmRoundMs);
    rounds.push({ silent: first ?? (await run('silent', scale.warmRoundMs)), chatty });
  }
  const rps = (name: 'silent' | 'chatty'): number =>
    median(rounds.map((round) => round[name].requestsPerSecond));
  const cpu = (name: 'silent' | 'chatty'): number =>
    median(rounds.map((round) => round[name].cpuUsPerRequest));
  const ratio = rps('chatty') / rps('silent');
  return [
    {
      name: 'console line per request ÷ none: throughput',
      ratio,
      absolute: `${Math.round(rps('chatty'))}/s of ${Math.round(rps('silent'))}/s, CPU ${cpu('chatty').toFixed(0)} of ${cpu('silent').toFixed(0)} µs`,
      goal: '≥ 0.92',
      reached: ratio >= 0.92,
      details: rounds,
    },
    ...(await flood(platform, scale, () => run('silent', scale.warmRoundMs))),
  ];
}

async function flood(
  platform: BenchPlatform,
  scale: BenchScale,
  neighbour: () => Promise<Measured>,
): Promise<Row[]> {
  const names = Array.from({ length: scale.floods }, (_, index) => `flood-${index}`);
  const config = { ...PUBLIC, limits: { cpuMs: 60_000, timeoutMs: 60_000 } };
  for (const name of names) await platform.api.deploy(name, { modules: { 'index.js': FLOOD }, config });
  const call = async (name: string, forMs: number): Promise<number> => {
    using connection = await RawConnection.open(platform.gatewayUrl);
    const answer = await connection.send(getRequest(platform.hostOf(name), `/?ms=${forMs}`));
    if (answer.status !== 200) throw new Error(`${name} answered ${answer.status}: ${answer.body}`);
    return Number(answer.body);
  };
  await Promise.all(names.map((name) => call(name, 300)));
  const agentKb = (): number =>
    Object.entries(platform.planesKb()).find(([name]) => name.startsWith('node'))?.[1] ?? 0;
  const before = await neighbour();
  // The rings of all functions are filled once; what comes on top is growth.
  await Promise.all(names.map((name) => call(name, 2 * scale.floodMs)));
  const beforeKb = agentKb();
  const flooding = Promise.all(names.map((name) => call(name, 2 * scale.floodMs)));
  const during = await neighbour();
  const written = median(await flooding);
  const growthKb = agentKb() - beforeKb;
  const dropped = await droppedOf(platform, names[0] ?? '');
  const ratio = during.requestsPerSecond / before.requestsPerSecond;
  return [
    {
      name: `${scale.floods} functions flood their logs: throughput of a neighbour`,
      ratio,
      absolute: `${Math.round(before.requestsPerSecond)} → ${Math.round(during.requestsPerSecond)}/s, p99 ${ms(before.p99Ms)} → ${ms(during.p99Ms)}`,
      details: { before, during },
    },
    {
      name: 'flood: each function writes, MB/s of the 1 it wants',
      ratio: written,
      absolute: `${written.toFixed(2)} MB/s, ${dropped} entries said to be dropped`,
      goal: '≥ 0.9, > 0',
      reached: written >= 0.9 && dropped > 0,
      details: undefined,
    },
    {
      name: 'flood: agent memory that a second flood adds',
      absolute: mib(growthKb),
      goal: '≤ 16 MiB',
      reached: growthKb <= 16 * 1_024,
      details: { beforeKb, growthKb },
    },
  ];
}

async function droppedOf(platform: BenchPlatform, name: string): Promise<number> {
  const { body } = await platform.api.call('GET', `functions/${name}/logs?tail=2000`);
  let dropped = 0;
  for (const found of String(body).matchAll(/"dropped":(\d+)/g)) dropped += Number(found[1]);
  return dropped;
}
