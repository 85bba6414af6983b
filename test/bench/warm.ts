/** Warm throughput, latency and CPU time per request, against raw workerd in interleaved rounds. */
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import process from 'node:process';
import { createdKeySchema } from '#shared/contracts/access.ts';
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

const PER_SECOND_GUESS = 12_000;

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
  const shared = await platform.api.expect(createdKeySchema, 'POST', 'keys', {
    name: 'shared',
    role: 'invoker',
    algorithm: 'hmac-sha256',
  });
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
      name: 'ed25519-signed',
      ...served,
      host: platform.hostOf('signed'),
      plan: { kind: 'signed', count: distinct, key },
    },
    {
      name: 'hmac-signed',
      ...served,
      host: platform.hostOf('signed'),
      plan: {
        kind: 'signed',
        count: distinct,
        key: { keyId: shared.id, algorithm: 'hmac-sha256', secret: shared.secret ?? '' },
      },
    },
  ];
  await firstWarmUp(load, candidates, scale);
  const rows: Row[] = [];
  for (const connections of scale.connections) {
    const bareUs: number[] = [];
    const rounds = await interleaved(load, candidates, connections, scale, () =>
      bareUs.push(bareVerificationUs()),
    );
    rows.push(...rowsOf(rounds, connections, median(bareUs)));
  }
  return rows;
}

function rowsOf(
  rounds: ReadonlyMap<string, readonly Measured[]>,
  connections: number,
  bareUs: number,
): Row[] {
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
      ...(isPublic ? { goal: '≥ 0.75', reached: throughput >= 0.75 } : {}),
      details: rounds.get(name),
    });
    rows.push({
      name: `${name}, ${connections} conn: CPU per request`,
      ratio: cpuRatio,
      absolute: `${cpu(name).toFixed(0)} µs`,
      ...(isPublic ? { goal: '≤ 1.7', reached: cpuRatio <= 1.7 } : {}),
      details: undefined,
    });
  }
  if (main) {
    rows.push(pauseRow(middle, connections));
    const beside = (name: string, atLeast: number): Row => {
      const ratio = rps(name) / rps('public');
      return {
        name: `${name} ÷ public, ${connections} conn`,
        ratio,
        absolute: `${(cpu(name) - cpu('public')).toFixed(1)} µs of CPU more`,
        ...(goals ? { goal: `≥ ${atLeast}`, reached: ratio >= atLeast } : {}),
        details: undefined,
      };
    };
    const moreUs = cpu('ed25519-signed') - cpu('public');
    rows.push(beside('jwt, cached', 0.95), beside('hmac-signed', 0.75), {
      name: `ed25519-signed, ${connections} conn: CPU over public ÷ one bare verification`,
      ratio: moreUs / bareUs,
      absolute: `${moreUs.toFixed(0)} of ${bareUs.toFixed(0)} µs`,
      ...(goals ? { goal: '≤ 1.25', reached: moreUs / bareUs <= 1.25 } : {}),
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

const BARE_VERIFICATIONS = 1_000;

/** CPU time of one Ed25519 verification of 300 bytes and nothing else, in the minutes of the round. */
function bareVerificationUs(): number {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const data = Buffer.alloc(300, 'a');
  const signature = sign(null, data, privateKey);
  const before = process.cpuUsage();
  for (let count = 0; count < BARE_VERIFICATIONS; count += 1) verify(null, data, publicKey, signature);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / BARE_VERIFICATIONS;
}
