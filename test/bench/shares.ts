/**
 * One account attacks a thing that accounts share, another does its own work that needs the same thing: how much
 * of it gets done, with the attack ÷ without, in turn on one platform.
 *
 * What is measured is the sharing and not the CPU of a small machine: the other account's work comes at a steady
 * pace that the machine keeps up with easily, and counts when it is done within the round; the attacker's client
 * runs at the least priority, its rate bounded, yet high enough to use up the share within a second. That it did
 * is read from its answers (`share_full` and its like): an attack that nobody felt proves nothing.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import process from 'node:process';
import { kvNamespaceViewSchema } from '#shared/contracts/api.ts';
import { Attacker, hostileAccount } from './attacker.ts';
import type { Facts } from './hostile-messages.ts';
import { pause } from './paced.ts';
import { BenchPlatform } from './platform.ts';
import { ms, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { BAD, GOOD, SHARES_CASES, type Scene, type SharesCase } from './shares-cases.ts';
import { SilentNames } from './silent-names.ts';
import { summarise } from './statistics.ts';

/** Small enough for a few seconds to use up the share. */
const CONNECTIONS_MAX = 1_200;
const NONCES_MAX = 20_000;
/** The attack has used up its share by then. */
const RUN_UP_MS = 2_000;
/** After it the platform is as before. */
const REST_MS = 500;
const GOAL = 0.9;

export async function benchShares(scale: BenchScale): Promise<Row[]> {
  // What is held is never answered.
  const server = createServer(({ url }, response) => {
    if (url?.startsWith('/hold') !== true) response.end('reached');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  using names = await SilentNames.open();
  try {
    await using platform = await BenchPlatform.start({
      gateways: 1,
      sandbox: scale.sandbox,
      egressAllowPrivate: [`127.0.0.1:${port}`],
      settings: {
        ISOPLANE_CONNECTIONS_MAX: String(CONNECTIONS_MAX),
        ISOPLANE_EGRESS_DNS: names.address,
        ISOPLANE_NONCES_MAX: String(NONCES_MAX),
      },
    });
    using attacker = new Attacker({ ...(await deployBoth(platform)), serverPort: port });
    const scene = { platform, serverPort: port };
    const rows: Row[] = [];
    for (const each of SHARES_CASES) {
      if (!isWanted(each)) continue;
      const asked = names.silent;
      rows.push(await measure(scene, each, attacker, scale));
      if (each.attack === 'lookups' && names.silent === asked)
        throw new Error('the name server was not asked');
    }
    return rows;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** `ISOPLANE_BENCH_ATTACKS`: some attacks alone. */
function isWanted({ attack }: SharesCase): boolean {
  const wanted = process.env['ISOPLANE_BENCH_ATTACKS'];
  return wanted === undefined || wanted.split(',').includes(attack);
}

/** Both accounts and their functions. @returns the way in of the hostile one. */
async function deployBoth(platform: BenchPlatform): Promise<Omit<Facts, 'serverPort'>> {
  const hostile = await hostileAccount(platform);
  for (const [owner, functions] of [
    [platform.api, GOOD],
    [hostile.api, BAD],
  ] as const) {
    await owner.expect(kvNamespaceViewSchema, 'POST', 'kv-namespaces', { name: 'bench' });
    for (const [name, { source, config }] of Object.entries(functions))
      await owner.deploy(name, { modules: { 'index.js': source }, config });
  }
  await platform.slotsReady();
  return { gatewayUrl: platform.gatewayUrl, controlUrl: platform.controlUrl, key: hostile.key };
}

interface Round {
  readonly done: number;
  readonly wanted: number;
  readonly latenciesMs: readonly number[];
}

async function measure(
  scene: Scene,
  each: SharesCase,
  attacker: Attacker,
  { shareRounds, shareRoundMs }: BenchScale,
): Promise<Row> {
  await work(scene, each, RUN_UP_MS);
  const without: Round[] = [];
  const beside: Round[] = [];
  const counts: Record<string, number> = {};
  for (let round = 0; round < shareRounds; round += 1) {
    without.push(await work(scene, each, shareRoundMs));
    await attacker.start(each.attack);
    await pause(each.runUpMs ?? RUN_UP_MS);
    beside.push(await work(scene, each, shareRoundMs));
    for (const [what, count] of Object.entries(await attacker.stop()))
      counts[what] = (counts[what] ?? 0) + count;
    await pause(REST_MS);
  }
  const { refusal } = each;
  const wasFelt = refusal === undefined || Object.keys(counts).some((key) => refusal.test(key));
  const wasCarriedOut = wasFelt && (counts['tries'] ?? 0) > 0;
  const [before, during] = [sumOf(without), sumOf(beside)];
  const ratio = during.done / before.done;
  return {
    name: `${each.attack}: ${each.what}`,
    ratio,
    absolute: `${before.done} → ${during.done} of ${during.wanted}, p50 ${ms(before.p50)} → ${ms(during.p50)}; ${wasCarriedOut ? '' : 'NOT CARRIED OUT: '}${shown(counts)}`,
    goal: `≥ ${GOAL}`,
    reached: wasCarriedOut && ratio >= GOAL,
    details: { things: each.things, counts, before, during },
  };
}

function sumOf(rounds: readonly Round[]): { done: number; wanted: number; p50: number; p99: number } {
  const { p50, p99 } = summarise(rounds.flatMap(({ latenciesMs }) => latenciesMs));
  return {
    done: rounds.reduce((sum, { done }) => sum + done, 0),
    wanted: rounds.reduce((sum, { wanted }) => sum + wanted, 0),
    p50,
    p99,
  };
}

function shown(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([what, count]) => `${count} ${what}`)
    .join(', ');
}

let turns = 0;

/** A late piece of work delays its own lane alone, and counts when it is done in time. */
async function work(scene: Scene, each: SharesCase, durationMs: number): Promise<Round> {
  const { lanes, everyMs } = each.pace;
  const endMs = performance.now() + durationMs;
  const latenciesMs: number[] = [];
  let done = 0;
  const lane = async (index: number): Promise<void> => {
    await pause((index * everyMs) / lanes);
    for (;;) {
      const beganMs = performance.now();
      if (beganMs >= endMs) return;
      turns += 1;
      const isDone = await each.work(scene, turns).catch(() => false);
      const nowMs = performance.now();
      latenciesMs.push(nowMs - beganMs);
      if (isDone && nowMs <= endMs) done += 1;
      await pause(Math.max(0, everyMs - (nowMs - beganMs)));
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));
  return { done, wanted: Math.floor((lanes * durationMs) / everyMs), latenciesMs };
}
