/** Warm throughput, latency and CPU time per request, against raw workerd in interleaved rounds. */
import { readFile } from 'node:fs/promises';
import { credentialsSchema } from '#shared/contracts/credentials.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { HELLO, PUBLIC, tokenIssuer } from './functions.ts';
import { LoadGenerator, type Measured } from './load.ts';
import { BenchPlatform } from './platform.ts';
import { startRawWorkerd } from './raw-workerd.ts';
import { ms, type Row } from './report.ts';
import { firstWarmUp, interleaved, RAW, type Candidate } from './rounds.ts';
import type { BenchScale } from './scale.ts';
import { median } from './statistics.ts';
import { tokenMaker } from './tokens.ts';

const PER_SECOND_GUESS = 9_000;

export async function benchWarm(scale: BenchScale): Promise<Row[]> {
  await using folder = await tempFolder();
  await using raw = await startRawWorkerd(folder.path, HELLO);
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  using load = new LoadGenerator();
  const issuer = tokenIssuer();
  await platform.api.deploy('open', { modules: { 'index.js': HELLO }, config: PUBLIC });
  await platform.api.deploy('tokens', { modules: { 'index.js': HELLO }, config: issuer.config('tokens') });
  await platform.api.deploy('signed', { modules: { 'index.js': HELLO } });
  const key = credentialsSchema.parse(JSON.parse(await readFile(platform.credentialsPath, 'utf8')));
  const distinct = Math.ceil((scale.warmRoundMs / 1_000) * PER_SECOND_GUESS);
  const oneToken = tokenMaker(issuer.plan('tokens', 1))();
  const served = { url: platform.gatewayUrl, pid: platform.rootPid };
  const candidates: Candidate[] = [
    { name: RAW, url: raw.url, host: 'raw.localhost', pid: raw.pid, plan: { kind: 'same', headers: {} } },
    { name: 'public', ...served, host: platform.hostOf('open'), plan: { kind: 'same', headers: {} } },
    {
      name: 'jwt, cached',
      ...served,
      host: platform.hostOf('tokens'),
      plan: { kind: 'same', headers: { authorization: `Bearer ${oneToken}` } },
    },
    {
      name: 'jwt, uncached',
      ...served,
      host: platform.hostOf('tokens'),
      plan: issuer.plan('tokens', distinct),
    },
    {
      name: 'signed',
      ...served,
      host: platform.hostOf('signed'),
      plan: { kind: 'signed', count: distinct, key },
    },
  ];
  await firstWarmUp(load, candidates, scale);
  const rows: Row[] = [];
  for (const connections of scale.connections) {
    const rounds = await interleaved(load, candidates, connections, scale);
    rows.push(...rowsOf(rounds, connections));
  }
  return rows;
}

function rowsOf(rounds: ReadonlyMap<string, readonly Measured[]>, connections: number): Row[] {
  const middle = (name: string, read: (measured: Measured) => number): number =>
    median((rounds.get(name) ?? []).map(read));
  const rps = (name: string): number => middle(name, (measured) => measured.requestsPerSecond);
  const cpu = (name: string): number => middle(name, (measured) => measured.cpuUsPerRequest);
  const main = connections > 1;
  const goals = connections === 16;
  const rows: Row[] = [];
  for (const name of rounds.keys()) {
    const p50 = middle(name, (measured) => measured.p50Ms);
    const p99 = middle(name, (measured) => measured.p99Ms);
    const throughput = rps(name) / rps(RAW);
    const cpuRatio = cpu(name) / cpu(RAW);
    const isPublic = name === 'public' && goals;
    rows.push({
      name: `${name}, ${connections} conn: requests/s`,
      ratio: throughput,
      absolute: `${Math.round(rps(name))}/s, p50 ${ms(p50)}, p99 ${ms(p99)}`,
      ...(isPublic ? { goal: '≥ 0.5', reached: throughput >= 0.5 } : {}),
      details: rounds.get(name),
    });
    rows.push({
      name: `${name}, ${connections} conn: CPU per request`,
      ratio: cpuRatio,
      absolute: `${cpu(name).toFixed(0)} µs`,
      ...(isPublic ? { goal: '≤ 2.3', reached: cpuRatio <= 2.3 } : {}),
      details: undefined,
    });
  }
  if (main) {
    rows.push(pauseRow(middle, connections));
    const jwt = rps('jwt, cached') / rps('public');
    rows.push({
      name: `jwt cached ÷ public, ${connections} conn`,
      ratio: jwt,
      absolute: `${(Math.abs(1 - jwt) * 100).toFixed(1)} % apart`,
      ...(goals ? { goal: '≤ 10 %', reached: Math.abs(1 - jwt) <= 0.1 } : {}),
      details: undefined,
    });
  }
  return rows;
}

/** Per instant and not per request: a closed loop hardly sends anything while everything stands still. */
function pauseRow(
  middle: (name: string, read: (measured: Measured) => number) => number,
  connections: number,
): Row {
  const wait = (name: string): number => middle(name, (measured) => measured.pauseP99Ms);
  const longest = (name: string): number => middle(name, (measured) => measured.maxMs);
  const ratio = wait('public') / wait(RAW);
  return {
    name: `public, ${connections} conn: p99 wait at a random instant`,
    ratio,
    absolute: `${ms(wait('public'))} and ${ms(wait(RAW))}, longest ${ms(longest('public'))} and ${ms(longest(RAW))}`,
    ...(connections === 16 ? { goal: '≤ 0.5', reached: ratio <= 0.5 } : {}),
    details: undefined,
  };
}
