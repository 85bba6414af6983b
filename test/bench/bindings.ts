/**
 * What a binding costs. Service bindings: the same two functions on the platform, and as two bare workerd
 * processes that speak over a Unix socket with nobody between. KV: against libSQL called in-process.
 *
 * A function makes the calls and the time is taken outside: its own clock stands while it computes.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { request } from 'undici';
import { kvNamespaceViewSchema } from '#shared/contracts/api.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { COMPATIBILITY_DATE } from '../support/api.ts';
import { PUBLIC } from './functions.ts';
import { BenchPlatform } from './platform.ts';
import { serveConfig } from './raw-workerd.ts';
import { ms, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';
import { median } from './statistics.ts';

const TARGET = `
import { WorkerEntrypoint } from 'cloudflare:workers';
export default class extends WorkerEntrypoint {
  fetch() { return new Response('Hello'); }
  add(a, b) { return a + b; }
}
`;

const CALLER = `
const VALUE = 'x'.repeat(1024);
const CALLS = {
  fetch: async (env) => { await (await env.TARGET.fetch('http://target/')).text(); },
  rpc: async (env) => { await env.TARGET.add(1, 2); },
  get: async (env, n) => { await env.KV.get('key' + (n % 100)); },
  put: async (env, n) => { await env.KV.put('key' + (n % 100), VALUE); },
};
export default {
  async fetch(request, env) {
    const { searchParams } = new URL(request.url);
    const call = CALLS[searchParams.get('call')];
    let left = Number(searchParams.get('count'));
    const lane = async () => { while (left > 0) { left -= 1; await call(env, left); } };
    await Promise.all(Array.from({ length: Number(searchParams.get('lanes')) }, lane));
    return new Response('done');
  },
};
`;

type Call = 'fetch' | 'rpc' | 'get' | 'put';
const LANES = 16;
const SEQUENCE = 20;

interface Caller {
  readonly url: string;
  readonly host: string;
}

interface Speed {
  readonly perSecond: number;
  readonly p50Ms: number;
}

async function timeCalls(caller: Caller, call: Call, count: number, lanes: number): Promise<number> {
  const startedMs = performance.now();
  const answer = await request(`${caller.url}/?call=${call}&count=${count}&lanes=${lanes}`, {
    headers: { host: caller.host },
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`${call} answered ${answer.statusCode}: ${text}`);
  return performance.now() - startedMs;
}

async function measure(caller: Caller, call: Call, calls: number): Promise<Speed> {
  await timeCalls(caller, call, Math.ceil(calls / 4), LANES);
  const elapsedMs = await timeCalls(caller, call, calls, LANES);
  const each: number[] = [];
  for (let sequence = 0; sequence < calls / SEQUENCE / 4; sequence += 1)
    each.push((await timeCalls(caller, call, SEQUENCE, 1)) / SEQUENCE);
  return { perSecond: (calls * 1_000) / elapsedMs, p50Ms: median(each) };
}

/** Two bare processes: what the binding would cost without a platform. */
async function startPair(folder: string): Promise<Caller & AsyncDisposable> {
  await writeFile(join(folder, 'target.js'), TARGET);
  await writeFile(join(folder, 'caller.js'), CALLER);
  const socket = `unix:${join(folder, 't.sock')}`;
  const worker = (name: string, bindings: string): string =>
    `(name = "main", worker = (modules = [(name = "${name}.js", esModule = embed "${name}.js")],
      compatibilityDate = "${COMPATIBILITY_DATE}"${bindings}))`;
  const http = '(name = "http", address = "127.0.0.1:0", http = (), service = "main")';
  const rpc = 'http = (capnpConnectHost = "rpc:1")';
  const write = async (name: string, services: string, sockets: string): Promise<string> => {
    const path = join(folder, `${name}.capnp`);
    await writeFile(
      path,
      `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [${services}], sockets = [${sockets}]);\n`,
    );
    return path;
  };
  const target = await serveConfig(
    await write(
      'target',
      worker('target', ''),
      `${http}, (name = "rpc", address = "${socket}", ${rpc}, service = "main")`,
    ),
  );
  const caller = await serveConfig(
    await write(
      'caller',
      `${worker('caller', ', bindings = [(name = "TARGET", service = "target")]')},
       (name = "target", external = (address = "${socket}", ${rpc}))`,
      http,
    ),
  );
  return {
    url: caller.url,
    host: 'caller.localhost',
    async [Symbol.asyncDispose]() {
      await caller[Symbol.asyncDispose]();
      await target[Symbol.asyncDispose]();
    },
  };
}

/** The same table shape and durability as the node's, one call after the other. */
async function rawLibsql(folder: string, calls: number): Promise<Record<'get' | 'put', Speed>> {
  const client = createClient({ url: `file:${join(folder, 'raw.db')}`, concurrency: 1 });
  await client.execute('PRAGMA journal_mode=WAL');
  await client.execute(
    'CREATE TABLE kv (namespace TEXT, key BLOB, value BLOB, PRIMARY KEY (namespace, key))',
  );
  const value = new TextEncoder().encode('x'.repeat(1_024));
  const keyOf = (index: number): Uint8Array => new TextEncoder().encode(`key${index % 100}`);
  const run = async (work: (index: number) => Promise<unknown>): Promise<Speed> => {
    const each: number[] = [];
    for (let index = 0; index < calls; index += 1) {
      const startedMs = performance.now();
      await work(index);
      each.push(performance.now() - startedMs);
    }
    return { perSecond: (calls * 1_000) / each.reduce((sum, one) => sum + one, 0), p50Ms: median(each) };
  };
  const put = await run((index) =>
    client.execute({
      sql: 'INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
      args: ['n', keyOf(index), value],
    }),
  );
  const get = await run((index) =>
    client.execute({
      sql: 'SELECT value FROM kv WHERE namespace = ? AND key = ?',
      args: ['n', keyOf(index)],
    }),
  );
  client.close();
  return { get, put };
}

export async function benchBindings(scale: BenchScale): Promise<Row[]> {
  await using folder = await tempFolder();
  await using pair = await startPair(folder.path);
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  await platform.api.expect(kvNamespaceViewSchema, 'POST', 'kv-namespaces', { name: 'bench' });
  await platform.api.deploy('target', { modules: { 'index.js': TARGET }, config: PUBLIC });
  await platform.api.deploy('caller', {
    modules: { 'index.js': CALLER },
    config: {
      ...PUBLIC,
      limits: { cpuMs: 60_000, timeoutMs: 60_000 },
      services: [{ binding: 'TARGET', function: 'target' }],
      kv: [{ binding: 'KV', namespace: 'bench' }],
    },
  });
  const caller: Caller = { url: platform.gatewayUrl, host: platform.hostOf('caller') };
  const rows: Row[] = [];
  for (const call of ['fetch', 'rpc'] as const) {
    const rounds: { bare: Speed; ours: Speed }[] = [];
    for (let round = 0; round < scale.bindingRounds; round += 1)
      rounds.push({
        bare: await measure(pair, call, scale.bindingCalls),
        ours: await measure(caller, call, scale.bindingCalls),
      });
    rows.push(...serviceRows(call, rounds));
  }
  const raw = await rawLibsql(folder.path, scale.bindingCalls);
  await timeCalls(caller, 'put', 100, 1);
  for (const call of ['put', 'get'] as const) {
    const ours = await measure(caller, call, scale.bindingCalls);
    rows.push({
      name: `KV ${call}, one after the other`,
      ratio: ours.p50Ms / raw[call].p50Ms,
      absolute: `p50 ${ms(ours.p50Ms)}; libSQL in-process ${ms(raw[call].p50Ms)}; ${LANES} at once ${Math.round(ours.perSecond)}/s`,
      details: { ours, raw: raw[call] },
    });
  }
  return rows;
}

function serviceRows(call: Call, rounds: readonly { readonly bare: Speed; readonly ours: Speed }[]): Row[] {
  const perSecond = median(rounds.map(({ ours }) => ours.perSecond));
  return [
    {
      name: `service ${call}, ${LANES} at once: calls/s ÷ two bare workerd`,
      ratio: median(rounds.map(({ ours, bare }) => ours.perSecond / bare.perSecond)),
      absolute: `${Math.round(perSecond)}/s; bare ${Math.round(median(rounds.map(({ bare }) => bare.perSecond)))}/s`,
      details: rounds,
    },
    {
      name: `service ${call}, one after the other: p50 ÷ two bare workerd`,
      ratio: median(rounds.map(({ ours, bare }) => ours.p50Ms / bare.p50Ms)),
      absolute: `p50 ${ms(median(rounds.map(({ ours }) => ours.p50Ms)))}; bare ${ms(median(rounds.map(({ bare }) => bare.p50Ms)))}`,
      details: undefined,
    },
  ];
}
