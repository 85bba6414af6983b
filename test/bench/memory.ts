/** Resident memory: what a waiting slot and an idle instance cost, and what 500 functions leave behind. */
import { waitFor } from '#shared/testing/fakes.ts';
import { treeMemory } from '../support/proc.ts';
import { getRequest, RawConnection } from '../support/raw.ts';
import { PUBLIC, saying } from './functions.ts';
import { BenchPlatform } from './platform.ts';
import { mib, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { median } from './statistics.ts';

const FLEET_AT_ONCE = 8;
const FLEET_IDLE_MS = 1_000;
/** A burst of starts makes more slots wait for some minutes: a cache that is meant, and no leak. */
const REST_MS = 300_000;
const SETTLE_MS = 60_000;
const SAMPLES = 3;

/** workerd and the helpers around it, as opposed to the planes, which are Node. */
const isSandboxed = ({ name }: { readonly name: string }): boolean =>
  !name.includes('node') && name !== 'MainThread';

async function pause(durationMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, durationMs));
}

async function sandboxKb(platform: BenchPlatform): Promise<number> {
  const samples: number[] = [];
  for (let index = 0; index < SAMPLES; index += 1) {
    samples.push(treeMemory(platform.rootPid, isSandboxed).pssKb);
    await pause(300);
  }
  return median(samples);
}

async function call(connection: RawConnection, platform: BenchPlatform, name: string): Promise<void> {
  const answer = await connection.send(getRequest(platform.hostOf(name)));
  if (answer.status !== 200) throw new Error(`${name} answered ${answer.status}: ${answer.body}`);
}

export async function benchMemory(scale: BenchScale): Promise<Row[]> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  const full = platform.slots;
  const slotsKb = await sandboxKb(platform);
  const config = { ...PUBLIC, scaling: { idleTimeoutMs: 600_000 } };
  using connection = await RawConnection.open(platform.gatewayUrl);
  for (let index = 0; index < scale.idleInstances; index += 1) {
    const name = `idle-${index}`;
    await platform.api.deploy(name, { modules: { 'index.js': saying(name) }, config });
    await call(connection, platform, name);
  }
  await platform.slotsReady();
  const withInstancesKb = await sandboxKb(platform);
  const status = await platform.nodeStatus();
  const perSlotKb = slotsKb / full;
  const perInstanceKb = (withInstancesKb - perSlotKb * status.freeSlots) / Math.max(1, status.instances);
  const planesKb = treeMemory(platform.rootPid, (stat) => !isSandboxed(stat)).pssKb;
  const { unread } = treeMemory(platform.rootPid);
  const note = unread === 0 ? '' : ` (${unread} processes could not be read)`;
  return [
    {
      name: 'memory per waiting slot (PSS)',
      absolute: `${mib(perSlotKb)} of ${full}${note}`,
      details: { slotsKb, slots: full },
    },
    {
      name: 'memory per idle instance (PSS)',
      absolute: `${mib(perInstanceKb)} of ${status.instances}${note}`,
      details: { withInstancesKb, status },
    },
    { name: 'memory of all planes (PSS)', absolute: mib(planesKb), details: undefined },
  ];
}

/** Functions deployed, each called once, then left alone until everything is scaled to zero. */
export async function benchFleet(scale: BenchScale): Promise<Row[]> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  const config = { ...PUBLIC, scaling: { idleTimeoutMs: FLEET_IDLE_MS, queueTimeoutMs: 60_000 } };
  const publish = async (name: string): Promise<number> => {
    const reply = await platform.api.publish(name, { modules: { 'index.js': saying(name) }, config });
    return reply.deployment?.revision ?? 0;
  };
  // One deployment and one call first, so that lazily loaded code does not count as growth.
  await platform.api.propagated(await publish('first'));
  using connection = await RawConnection.open(platform.gatewayUrl);
  await call(connection, platform, 'first');
  await settled(platform);
  const startKb = treeMemory(platform.rootPid).pssKb;
  const planesAtStart = platform.planesKb();

  const names = Array.from({ length: scale.fleet }, (_, index) => `fleet-${index}`);
  let revision = 0;
  await inParallel(names, 2, async (name) => {
    revision = Math.max(revision, await publish(name));
  });
  await platform.api.propagated(revision, 60_000);
  const deployedKb = treeMemory(platform.rootPid).pssKb;
  process.stderr.write(`  fleet: ${names.length} functions deployed\n`);
  let answered = 0;
  let peakKb = 0;
  await inParallel(names, FLEET_AT_ONCE, async (name) => {
    using own = await RawConnection.open(platform.gatewayUrl);
    await call(own, platform, name);
    answered += 1;
    if (answered % Math.ceil(names.length / 10) === 0)
      peakKb = Math.max(peakKb, treeMemory(platform.rootPid).pssKb);
  });
  await settled(platform);
  const idleMs = performance.now();
  const endKb = await lowest(platform, startKb * 1.2);
  const restS = Math.round((performance.now() - idleMs) / 1_000);
  const planesAtEnd = platform.planesKb();
  for (const [name, kb] of Object.entries(planesAtEnd))
    process.stderr.write(`  fleet: ${name} ${mib(planesAtStart[name] ?? 0)} → ${mib(kb)}\n`);
  const ratio = endKb / startKb;
  return [
    {
      name: `${scale.fleet} functions, each called once, then idle: memory ÷ start`,
      ratio,
      absolute: `${answered} answered; ${mib(startKb)} → deployed ${mib(deployedKb)} → peak ${mib(peakKb)} → ${mib(endKb)} after ${restS} s`,
      goal: '≤ 1.20',
      reached: answered === scale.fleet && ratio <= 1.2,
      details: { startKb, deployedKb, peakKb, endKb, answered, planesAtStart, planesAtEnd },
    },
  ];
}

async function settled(platform: BenchPlatform): Promise<void> {
  await waitFor('scale to zero', async () => (await platform.nodeStatus()).instances === 0, SETTLE_MS);
  await platform.slotsReady();
}

/** The lowest reading until `enoughKb` is reached or time is up: garbage and spare slots go when it suits them. */
async function lowest(platform: BenchPlatform, enoughKb: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  const until = performance.now() + REST_MS;
  while (performance.now() < until) {
    least = Math.min(least, treeMemory(platform.rootPid).pssKb);
    if (least <= enoughKb) break;
    await pause(1_000);
  }
  return least;
}

async function inParallel<T>(
  items: readonly T[],
  width: number,
  run: (item: T) => Promise<void>,
): Promise<void> {
  const open = [...items];
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let item = open.shift(); item !== undefined; item = open.shift()) await run(item);
    }),
  );
}
