/** Cold starts: a function without an instance, until the first byte of its answer arrives through the gateway. */
import { getRequest, RawConnection } from '../support/raw.ts';
import { PUBLIC, saying } from './functions.ts';
import { BenchPlatform } from './platform.ts';
import { rawStartMs } from './raw-start.ts';
import { ms, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { summarise } from './statistics.ts';

async function firstCall(connection: RawConnection, host: string): Promise<number> {
  const request = getRequest(host);
  const begin = performance.now();
  const answer = await connection.send(request);
  const elapsed = performance.now() - begin;
  if (answer.status !== 200) throw new Error(`${host} answered ${answer.status}: ${answer.body}`);
  if (!/\r\nisoplane-cold-start:[ ]*1/i.test(answer.head))
    throw new Error(`the call of ${host} was no cold start`);
  return elapsed;
}

async function deployMany(platform: BenchPlatform, prefix: string, count: number): Promise<string[]> {
  const names = Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
  let revision = 0;
  for (const name of names) {
    // No instance is stopped meanwhile: the end of one is no part of the start of another.
    const config = { ...PUBLIC, scaling: { idleTimeoutMs: 60_000, queueTimeoutMs: 60_000 } };
    const reply = await platform.api.publish(name, { modules: { 'index.js': saying(name) }, config });
    revision = reply.deployment?.revision ?? revision;
  }
  await platform.api.propagated(revision);
  return names;
}

export async function benchCold(scale: BenchScale): Promise<Row[]> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  const one = await deployMany(platform, 'cold', scale.coldFunctions);
  using connection = await RawConnection.open(platform.gatewayUrl);
  const times: number[] = [];
  const raw: number[] = [];
  for (const name of one) {
    await platform.slotsReady();
    raw.push(await rawStartMs());
    times.push(await firstCall(connection, platform.hostOf(name)));
  }
  process.stderr.write(`  cold: ${times.length} functions one after another\n`);
  const sequential = summarise(times);
  const baseline = summarise(raw);

  const many = await deployMany(platform, 'burst', scale.coldAtOnce);
  await platform.slotsReady();
  const connections = await Promise.all(many.map(() => RawConnection.open(platform.gatewayUrl)));
  const begin = performance.now();
  const burst = await Promise.all(
    many.map(async (name, index) => {
      const free = connections[index];
      if (free === undefined) throw new Error('one connection per function');
      return firstCall(free, platform.hostOf(name));
    }),
  );
  const allMs = performance.now() - begin;
  for (const free of connections) free[Symbol.dispose]();
  const together = summarise(burst);
  return [
    {
      name: 'cold start, warm slot ÷ raw workerd: p50',
      ratio: sequential.p50 / baseline.p50,
      absolute: `${ms(sequential.p50)} (raw ${ms(baseline.p50)})`,
      goal: '≤ 20 ms',
      reached: sequential.p50 <= 20,
      details: { ...sequential, times, raw },
    },
    {
      name: 'cold start, warm slot ÷ raw workerd: p99',
      ratio: sequential.p99 / baseline.p99,
      absolute: `${ms(sequential.p99)} of ${sequential.count} (raw ${ms(baseline.p99)})`,
      goal: '≤ 50 ms',
      reached: sequential.p99 <= 50,
      details: undefined,
    },
    {
      name: `${scale.coldAtOnce} functions cold at once`,
      absolute: `p50 ${ms(together.p50)}, last ${ms(together.max)}, all in ${ms(allMs)} (${platform.slots} slots were ready)`,
      goal: 'all ≤ 1 s',
      reached: allMs <= 1_000,
      details: { ...together, allMs, slots: platform.slots, times: burst },
    },
  ];
}
