/**
 * What bodies of a hostile account cost each plane in memory: attacks one after the other on one platform, each plane's
 * memory sampled all the while. An attack must have been answered as it is answered when its bound is reached, or it
 * proves nothing about that bound.
 */
import { kvNamespaceViewSchema } from '#shared/contracts/api.ts';
import { Attacker, hostileAccount } from './attacker.ts';
import { HELLO, PUBLIC } from './functions.ts';
import { pause } from './paced.ts';
import { BenchPlatform } from './platform.ts';
import { mib, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';

const GROWTH_KB_MAX = 128 * 1_024;
const SAMPLE_MS = 200;
/** What an attack held is given back, and its garbage may go. */
const REST_MS = 2_000;
/** Longer than an attack. */
const WAITS = `export default { async fetch() { await scheduler.wait(30_000); return new Response('late'); } };`;

/** Ten puts of each call stall one MiB before their end; a whole one then tells whether the share is used up. */
const KV_LARGE = `const piece = new Uint8Array(1 << 20);
export default { async fetch(request, env) {
  const stalling = () => {
    let sent = 0;
    return new ReadableStream({ pull(controller) {
      if (sent === 23) return new Promise(() => {});
      sent += 1;
      controller.enqueue(piece.slice());
    } });
  };
  for (let index = 0; index < 10; index += 1) env.KV.put('key' + index, stalling()).catch(() => undefined);
  await scheduler.wait(2_500);
  const refusal = await env.KV.put('late', new Uint8Array(20 << 20)).then(() => '', ({ message }) => message);
  return new Response(refusal, { status: refusal.includes('hare') ? 429 : 200 });
} };`;

/** Each with an answer that it gets once its bound is reached. Absent: it is slow, and nothing is refused meanwhile. */
const ATTACKS: readonly { readonly attack: string; readonly what: string; readonly answer?: RegExp }[] = [
  { attack: 'one-signature', what: '100 bodies of 8 MiB with one signature', answer: /signature_replayed/ },
  { attack: 'own-signatures', what: '100 bodies of 8 MiB with one each', answer: /share_full/ },
  { attack: 'public-bodies', what: '40 bodies of 8 MiB to a function that does not read them' },
  { attack: 'slow-public-bodies', what: '256 bodies of a byte to a public function' },
  { attack: 'signed-chunks', what: '10 signed bodies in chunks of one byte' },
  { attack: 'public-chunks', what: '10 bodies to a public function in chunks of one byte' },
  { attack: 'upload-chunks', what: '3 uploads in chunks of one byte' },
  { attack: 'large-api-bodies', what: '100 API bodies of 1 MB', answer: /share_full/ },
  { attack: 'large-kv-puts', what: '33 KV puts of 20 to 24 MiB', answer: /^429/ },
];

export async function benchBodyMemory({ sandbox, bodyAttackMs }: BenchScale): Promise<Row[]> {
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox });
  const hostile = await hostileAccount(platform);
  await hostile.api.expect(kvNamespaceViewSchema, 'POST', 'kv-namespaces', { name: 'bench' });
  const large = {
    ...PUBLIC,
    kv: [{ binding: 'KV', namespace: 'bench' }],
    limits: { memoryMb: 1_024, cpuMs: 60_000, timeoutMs: 60_000 },
    scaling: { concurrency: 1 },
  };
  for (const [name, source, config] of [
    ['vault', HELLO, {}],
    ['public', WAITS, { ...PUBLIC, limits: { timeoutMs: 60_000 } }],
    ['kv-large', KV_LARGE, large],
  ] as const)
    await hostile.api.deploy(name, { modules: { 'index.js': source }, config });
  await platform.slotsReady();
  const { gatewayUrl, controlUrl } = platform;
  using attacker = new Attacker({ gatewayUrl, controlUrl, key: hostile.key, serverPort: 0 });
  const startKb = platform.planesKb();
  const most = Object.fromEntries(Object.keys(startKb).map((plane) => [plane, { kb: 0, attack: '' }]));
  const vacuous: string[] = [];
  const details: unknown[] = [];
  for (const { attack, answer } of ATTACKS) {
    process.stderr.write(`  ${attack} …\n`);
    await attacker.start(attack);
    const peakKb = await peaks(platform, bodyAttackMs);
    const counts = await attacker.stop();
    details.push({ attack, peakKb, counts });
    const wasFelt = answer === undefined || Object.keys(counts).some((key) => answer.test(key));
    if (!wasFelt || (counts['tries'] ?? 0) === 0) vacuous.push(`${attack} ${JSON.stringify(counts)}`);
    for (const [plane, kb] of Object.entries(peakKb))
      if (kb > (most[plane]?.kb ?? 0)) most[plane] = { kb, attack };
    await pause(REST_MS);
  }
  const endKb = platform.planesKb();
  const suffix = vacuous.length === 0 ? '' : `; NOT CARRIED OUT: ${vacuous.join('; ')}`;
  return Object.entries(most).map(([plane, { kb, attack }]) => {
    const grownKb = kb - (startKb[plane] ?? 0);
    return {
      name: `bodies of a hostile account: growth of ${plane}`,
      absolute: `${mib(grownKb)} (${mib(startKb[plane] ?? 0)} → ${mib(kb)} in ${attack} → ${mib(endKb[plane] ?? 0)})${suffix}`,
      goal: `≤ ${mib(GROWTH_KB_MAX)}`,
      reached: vacuous.length === 0 && grownKb <= GROWTH_KB_MAX,
      details: { startKb, endKb, attacks: details },
    };
  });
}

/** The most that each plane has had. */
async function peaks(platform: BenchPlatform, durationMs: number): Promise<Record<string, number>> {
  const most: Record<string, number> = {};
  const endMs = performance.now() + durationMs;
  while (performance.now() < endMs) {
    for (const [plane, kb] of Object.entries(platform.planesKb()))
      most[plane] = Math.max(most[plane] ?? 0, kb);
    await pause(SAMPLE_MS);
  }
  return most;
}
