/** Static assets through the gateway, against the hello of raw workerd in interleaved rounds. */
import { tempFolder } from '#shared/testing/temp.node.ts';
import { HELLO, PUBLIC } from './functions.ts';
import { LoadGenerator, type Measured } from './load.ts';
import { BenchPlatform } from './platform.ts';
import { startRawWorkerd } from './raw-workerd.ts';
import { ms, type Row } from './report.ts';
import { firstWarmUp, interleaved, RAW, type Candidate } from './rounds.ts';
import type { BenchScale } from './scale.ts';
import { median } from './statistics.ts';

/** As long as what raw workerd answers. */
const SMALL = 'Hello, world!\n';
const PAGE = `<!doctype html>\n${Array.from({ length: 200 }, (_, index) => `<p id="p${index}">Paragraph ${index} of a page.</p>\n`).join('')}`;
const BROWSER = {
  accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
  'accept-encoding': 'gzip, deflate, br, zstd',
  'accept-language': 'en-GB,en;q=0.5',
  'sec-fetch-mode': 'navigate',
};

export async function benchAssets(scale: BenchScale): Promise<Row[]> {
  await using folder = await tempFolder();
  await using raw = await startRawWorkerd(folder.path, HELLO);
  await using platform = await BenchPlatform.start({ gateways: 1, sandbox: scale.sandbox });
  using load = new LoadGenerator();
  const modules = { 'index.js': HELLO };
  const config = { ...PUBLIC, assets: {} };
  await platform.api.deploy('small', { modules, config, assets: { '/index.html': SMALL } });
  await platform.api.deploy('page', { modules, config, assets: { '/index.html': PAGE } });
  const served = { url: platform.gatewayUrl, pid: platform.rootPid };
  const candidates: Candidate[] = [
    { name: RAW, url: raw.url, host: 'raw.localhost', pid: raw.pid, plan: { kind: 'same', headers: {} } },
    { name: 'small asset', ...served, host: platform.hostOf('small'), plan: { kind: 'same', headers: {} } },
    {
      name: 'page for a browser, br',
      ...served,
      host: platform.hostOf('page'),
      plan: { kind: 'same', headers: BROWSER },
    },
  ];
  await firstWarmUp(load, candidates, scale);
  const rows: Row[] = [];
  for (const connections of scale.connections)
    rows.push(...rowsOf(await interleaved(load, candidates, connections, scale), connections));
  return rows;
}

function rowsOf(rounds: ReadonlyMap<string, readonly Measured[]>, connections: number): Row[] {
  const middle = (name: string, read: (measured: Measured) => number): number =>
    median((rounds.get(name) ?? []).map(read));
  const rps = (name: string): number => middle(name, (measured) => measured.requestsPerSecond);
  const cpu = (name: string): number => middle(name, (measured) => measured.cpuUsPerRequest);
  return [...rounds.keys()].flatMap((name): Row[] => {
    const throughput = rps(name) / rps(RAW);
    const p99 = middle(name, (measured) => measured.p99Ms);
    const isGoal = name === 'small asset' && connections === 16;
    return [
      {
        name: `${name}, ${connections} conn: requests/s`,
        ratio: throughput,
        absolute: `${Math.round(rps(name))}/s, p99 ${ms(p99)}`,
        ...(isGoal ? { goal: '≥ 1.0', reached: throughput >= 1 } : {}),
        details: rounds.get(name),
      },
      {
        name: `${name}, ${connections} conn: CPU per request`,
        ratio: cpu(name) / cpu(RAW),
        absolute: `${cpu(name).toFixed(0)} µs`,
        details: undefined,
      },
    ];
  });
}
