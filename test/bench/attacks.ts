/** Functions that attack their node: what a neighbour notices, and how soon the attacker hears of it. */
import { treeMemory } from '../support/proc.ts';
import { getRequest, RawConnection } from '../support/raw.ts';
import { HELLO, PUBLIC } from './functions.ts';
import { pacedCalls, pause, type PacedResult } from './paced.ts';
import { BenchPlatform } from './platform.ts';
import { mib, ms, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { median, quantile, summarise } from './statistics.ts';

const CPU_MS = 1_000;
const PACE = { callers: 4, everyMs: 8 };
const BEFORE_MS = 1_500;
const BACK_MS_MAX = 10_000;
/** Of one instance that has just answered its first call. */
const BACK_KB = 24 * 1_024;

const ATTACKS = `
const kept = [];
const wasm = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 0, 0, 7, 5, 1, 1, 109, 2, 0]);
export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/loop': for (;;) {}
      case '/heap': for (;;) kept.push(new Array(10_000).fill(Math.random()));
      case '/buffers': for (;;) { kept.push(new Uint8Array(8 << 20).fill(1)); }
      case '/string': { let text = 'x'.repeat(1 << 20); for (;;) { kept.push((text + kept.length).split('').reverse().join('')); } }
      case '/trickle': for (;;) { kept.push(new Uint8Array(1 << 20).fill(1)); await scheduler.wait(1); }
      default: return new Response('fine');
    }
  },
};
`;

export async function benchAttack(scale: BenchScale): Promise<Row[]> {
  await using platform = await attackedPlatform(scale);
  const neighbour = { url: platform.gatewayUrl, host: platform.hostOf('neighbour') };
  await pacedCalls(neighbour, PACE, pause(BEFORE_MS));
  const before: number[] = [];
  const during: number[] = [];
  const lateMs: number[] = [];
  for (let round = 0; round < scale.attacks; round += 1) {
    // A function of its own each time: one that is killed again and again is quarantined.
    const name = `attacker-${round}`;
    await platform.api.deploy(name, {
      modules: { 'index.js': `${ATTACKS}// ${name}` },
      config: { ...PUBLIC, limits: { cpuMs: CPU_MS } },
    });
    await callOnce(platform, '/', name);
    await platform.slotsReady();
    before.push(...(await pacedCalls(neighbour, PACE, pause(BEFORE_MS))).latenciesMs);
    const attack = attackOnce(platform, name, '/loop');
    during.push(...(await pacedCalls(neighbour, PACE, attack)).latenciesMs);
    lateMs.push((await attack) - CPU_MS);
  }
  const p99 = (values: readonly number[]): number => quantile(Float64Array.from(values).sort(), 0.99);
  const ratio = p99(during) / p99(before);
  const late = summarise(lateMs);
  return [
    {
      name: 'runaway loop: p99 of a neighbour during ÷ before',
      ratio,
      absolute: `${ms(p99(before))} → ${ms(p99(during))}, p50 ${ms(median(before))} → ${ms(median(during))}`,
      goal: '≤ 1.5',
      reached: ratio <= 1.5,
      details: { before: summarise(before), during: summarise(during) },
    },
    {
      name: 'runaway loop: own error after cpuMs',
      absolute: `p50 ${ms(late.p50)}, max ${ms(late.max)} of ${late.count}`,
      goal: '≤ 150 ms',
      reached: late.max <= 150,
      details: { lateMs },
    },
  ];
}

export async function benchMemoryHog(scale: BenchScale): Promise<Row[]> {
  await using platform = await attackedPlatform(scale);
  const neighbour = { url: platform.gatewayUrl, host: platform.hostOf('neighbour') };
  await pacedCalls(neighbour, PACE, pause(BEFORE_MS));
  const rows: Row[] = [];
  for (const path of ['/heap', '/buffers', '/string', '/trickle']) {
    await platform.slotsReady();
    const beforeKb = treeMemory(platform.rootPid).pssKb;
    const attack = hogOnce(platform, path);
    const answered = attack.then(() => pause(0));
    const { failures }: PacedResult = await pacedCalls(neighbour, PACE, answered);
    const { code, endedMs } = await attack;
    const back = await memoryBack(platform, beforeKb, endedMs);
    rows.push({
      name: `memory hog ${path}: memory back after its error`,
      absolute: `${ms(back.afterMs)} (${mib(back.kb - beforeKb)} more), ${code}, ${failures} failures of a neighbour`,
      goal: '≤ 2 s, 0',
      reached: back.afterMs <= 2_000 && failures === 0,
      details: { code, failures, beforeKb, ...back },
    });
  }
  return rows;
}

async function attackedPlatform(scale: BenchScale): Promise<BenchPlatform> {
  const platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  await platform.api.deploy('neighbour', { modules: { 'index.js': HELLO }, config: PUBLIC });
  const modules = { 'index.js': ATTACKS };
  const scaling = { maxInstances: 2 };
  await platform.api.deploy('hog', {
    modules,
    config: { ...PUBLIC, scaling, limits: { cpuMs: 60_000, timeoutMs: 60_000, memoryMb: 128 } },
  });
  return platform;
}

async function callOnce(platform: BenchPlatform, path: string, name: string) {
  using connection = await RawConnection.open(platform.gatewayUrl);
  return await connection.send(getRequest(platform.hostOf(name), path));
}

/** @returns ms until the attacker was answered. */
async function attackOnce(platform: BenchPlatform, name: string, path: string): Promise<number> {
  const beganMs = performance.now();
  const answer = await callOnce(platform, path, name);
  const elapsedMs = performance.now() - beganMs;
  if (!answer.body.includes('"code":"cpu_exceeded"'))
    throw new Error(`${path} was answered ${answer.status} ${answer.body}`);
  return elapsedMs;
}

async function hogOnce(
  platform: BenchPlatform,
  path: string,
): Promise<{ readonly code: string; readonly endedMs: number }> {
  const answer = await callOnce(platform, path, 'hog').catch(() => ({ body: '', status: 'no answer' }));
  const code = /"code":"(\w+)"/.exec(answer.body)?.[1] ?? String(answer.status);
  return { code, endedMs: performance.now() };
}

async function memoryBack(
  platform: BenchPlatform,
  beforeKb: number,
  endedMs: number,
): Promise<{ readonly afterMs: number; readonly kb: number }> {
  for (;;) {
    const { pssKb } = treeMemory(platform.rootPid);
    const afterMs = performance.now() - endedMs;
    if (pssKb <= beforeKb + BACK_KB || afterMs > BACK_MS_MAX) return { afterMs, kb: pssKb };
    await pause(20);
  }
}
