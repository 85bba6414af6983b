/**
 * Goal: operators see every metric of the table for every plane that it names, and nothing of tenants; nobody else
 * sees any. Method: a real platform that was used in ways that make each counter move.
 */
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createdKeySchema } from '#shared/contracts/access.ts';
import { LABELS, METRICS, rowOf, type MetricName } from '#shared/metrics/table.ts';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { TestPlatform } from '../support/platform.ts';

const CODE = `export default { fetch(request) {
  if (new URL(request.url).pathname === '/loop') for (;;);
  return new Response('fine');
} };`;
const NAMES = Object.keys(METRICS) as MetricName[];

let platform: TestPlatform;
let token: string;

beforeAll(async () => {
  platform = await TestPlatform.start({ gateways: 2 });
  const open = { auth: { mode: 'public' } } as const;
  await platform.api.deploy('tenantname', {
    modules: { 'index.js': CODE },
    config: { ...open, limits: { cpuMs: 50 } },
  });
  await platform.api.deploy('never-starts', {
    modules: { 'index.js': `${CODE} export function init() { throw new Error('no'); }` },
    config: { ...open, hooks: { init: { timeoutMs: 1_000 } } },
  });
  await platform.call('tenantname');
  await platform.call('tenantname', { path: '/loop' });
  await platform.call('never-starts');
  const key = await platform.api.expect(createdKeySchema, 'POST', 'keys', {
    name: 'prometheus',
    role: 'observer',
    algorithm: 'token',
  });
  token = key.secret ?? '';
});
afterAll(() => platform?.[Symbol.asyncDispose]());

interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** @throws {Error} for a line that Prometheus would not read. */
function read(text: string): Series[] {
  return text
    .trimEnd()
    .split('\n')
    .filter((line) => !/^# (?:HELP [a-z_]+ [^\n]+|TYPE [a-z_]+ (?:counter|gauge|histogram))$/.test(line))
    .map((line) => {
      const parts = /^([a-z_]+)\{((?:[a-z]+="[^"\\]*",?)+)\} ([0-9.e+-]+)$/.exec(line);
      if (parts === null) throw new Error(`not a sample: ${line}`);
      const labels = [...(parts[2] ?? '').matchAll(/([a-z]+)="([^"]*)"/g)].map((pair) => [pair[1], pair[2]]);
      return {
        name: parts[1] ?? '',
        labels: Object.fromEntries(labels) as Record<string, string>,
        value: Number(parts[3]),
      };
    });
}

const scrape = async (): Promise<string> => {
  const { body } = await request(new URL('/metrics', platform.platform.controlUrl), {
    headers: { authorization: `Bearer ${token}` },
  });
  return body.text();
};

describe('the metrics of a running platform', () => {
  test('are all of the table, from every plane that it names, with labels of the table alone', async ({
    expect,
  }) => {
    const series = read(await scrape());
    const given = new Set(series.map(({ name, labels }) => `${base(name)} ${labels['plane']}`));
    const wanted = NAMES.flatMap((name) => rowOf(name).planes.map((plane) => `${name} ${plane}`));
    expect([...given].sort()).toEqual([...wanted].sort());
    for (const { name, labels } of series) {
      const { plane: _plane, id, le: _le, ...own } = labels;
      expect(['control', 'scheduler', 'g1', 'g2', 'n1']).toContain(id);
      const { label } = rowOf(base(name));
      expect(Object.keys(own), name).toEqual(label === undefined ? [] : [label]);
      if (label !== undefined) expect(LABELS[label]).toContain(own[label]);
    }
    const keys = series.map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test('count what happened, and name no tenant', async ({ expect }) => {
    const text = await scrape();
    const sum = (name: string, labels: Readonly<Record<string, string>> = {}): number =>
      read(text)
        .filter((one) => one.name === name)
        .filter((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value))
        .reduce((total, { value }) => total + value, 0);
    expect(sum('isoplane_up')).toBe(5);
    expect(sum('isoplane_gateway_requests_total', { outcome: 'ok' })).toBeGreaterThanOrEqual(1);
    expect(sum('isoplane_gateway_requests_total', { outcome: 'cpu_exceeded' })).toBe(1);
    expect(sum('isoplane_gateway_requests_total', { outcome: 'startup_failed' })).toBe(1);
    expect(sum('isoplane_gateway_request_seconds_count')).toBe(3);
    expect(sum('isoplane_node_exits_total', { reason: 'cpu_exceeded' })).toBe(1);
    expect(sum('isoplane_scheduler_starts_failed_total', { code: 'startup_failed' })).toBeGreaterThanOrEqual(
      1,
    );
    expect(text).not.toMatch(/tenantname|never-starts|default/);
  });

  test('are at the socket of each plane, too, and on no port of a gateway', async ({ expect }) => {
    const { sockets } = layoutOf(platform.dataDir);
    for (const { path } of [sockets.scheduler, sockets.node('n1'), sockets.gateway('g1'), sockets.control]) {
      const dispatcher = new Agent({ connect: { socketPath: path } });
      const { body } = await request('http://inside/metrics', { dispatcher });
      expect(read(await body.text()).map(({ name }) => name)).toContain(
        'isoplane_process_resident_memory_bytes',
      );
      await dispatcher.close();
    }
    const { body, statusCode } = await request(new URL('/metrics', platform.gatewayUrl));
    expect([statusCode, (await body.text()).includes('isoplane_')]).toEqual([404, false]);
  });

  test('are printed by `isoplane metrics`', async ({ expect }) => {
    const printed = await platform.cli(['metrics']);
    expect(read(printed.stdout).map(({ name }) => name)).toContain('isoplane_up');
    const json = await platform.cli(['--json', 'metrics']);
    expect(json.json()).toMatchObject({ planes: [{ plane: 'control' }, {}, {}, {}, {}] });
  });
});

function base(name: string): MetricName {
  const found = NAMES.find((each) => each === name || each === name.replace(/_(?:bucket|sum|count)$/, ''));
  if (found === undefined) throw new Error(`${name} is not in the table`);
  return found;
}
