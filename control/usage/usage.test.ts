/** Reports are applied once, kept by the hour, forgotten after 400 days, and shown page by page. */
import { join } from 'node:path';
import { describe, test } from 'vitest';
import type { UsageView } from '#shared/contracts/api.ts';
import type { UsageReport } from '#shared/contracts/usage.ts';
import { FakeClock } from '#shared/testing/fakes.ts';
import { Database } from '../db/database.ts';
import { world, type World } from '../testing/world.ts';
import { UsageLedger } from './ledger.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

function report(sequence: number, requests: Record<string, number>, source = 'gateway/1'): object {
  return {
    source,
    sequence,
    entries: Object.entries(requests).map(([name, count]) => ({
      account: 'default',
      function: name,
      amounts: { requests: count, cpuMs: count / 2, egressBytes: 10 },
    })),
  };
}

const post = (control: World, body: object): Promise<Response> =>
  Promise.resolve(
    control.internal.request('/internal/usage', { method: 'POST', body: JSON.stringify(body) }),
  );

interface Listed {
  readonly items: UsageView[];
  readonly nextCursor?: string;
}

async function list(control: World, query: string): Promise<Listed> {
  const { status, body } = await control.call<Listed>('GET', `/v1/accounts/default/usage?${query}`);
  if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`);
  return body;
}

const shown = ({ items }: Listed): string[] =>
  items.map((item) => `${item.start.slice(5, 13)} ${item.function} ${item.requests}`);

/** The fake clock begins on 2023-11-14 at 22:13:20 UTC. */
const controlAt = async (): Promise<{ control: World; clock: FakeClock }> => {
  const clock = new FakeClock();
  return { control: await world({ clock, timers: clock }), clock };
};

describe('usage', () => {
  test('a repeated report changes nothing, and sources are told apart', async ({ expect }) => {
    const { control } = await controlAt();
    await using _ = control;
    for (const body of [
      report(1, { a: 2, b: 1 }),
      report(1, { a: 2, b: 1 }),
      report(2, { a: 3 }),
      report(1, { a: 2, b: 1 }),
      report(1, { a: 100 }, 'node/1'),
    ])
      expect((await post(control, body)).status).toBe(204);
    const { items } = await list(control, 'granularity=total');
    expect(items).toMatchObject([
      { function: 'a', requests: 105, cpuMs: 52.5, egressBytes: 30, errors: 0 },
      { function: 'b', requests: 1, cpuMs: 0.5, egressBytes: 10 },
    ]);
  });

  test('is listed by hour, day and in total, within a range, of one function or all', async ({ expect }) => {
    const { control, clock } = await controlAt();
    await using _ = control;
    for (let sequence = 1; sequence <= 4; sequence += 1) {
      await post(control, report(sequence, { a: sequence, b: 10 }));
      clock.advance(HOUR_MS);
    }
    expect(shown(await list(control, 'granularity=hour&function=a'))).toEqual([
      '11-14T22 a 1',
      '11-14T23 a 2',
      '11-15T00 a 3',
      '11-15T01 a 4',
    ]);
    expect(shown(await list(control, ''))).toEqual([
      '11-14T00 a 3',
      '11-14T00 b 20',
      '11-15T00 a 7',
      '11-15T00 b 20',
    ]);
    const range = 'from=2023-11-14T23:00:00Z&to=2023-11-15T01:00:00Z&granularity=total';
    expect(shown(await list(control, range))).toEqual(['11-14T23 a 5', '11-14T23 b 20']);
    const pages: string[] = [];
    let cursor = '';
    for (let page = 0; page < 4; page += 1) {
      const answer = await list(control, `granularity=day&limit=1${cursor}`);
      pages.push(...shown(answer));
      cursor = `&cursor=${answer.nextCursor ?? ''}`;
    }
    expect(pages).toEqual(shown(await list(control, '')));
    expect(cursor).toBe('&cursor=');
    const bad = await control.call('GET', '/v1/accounts/default/usage?from=2024-01-01T00:00:00Z');
    expect(bad.status).toBe(400);
  });

  test('outlives control, with its sequence, and is forgotten after 400 days', async ({ expect }) => {
    const { control, clock } = await controlAt();
    await using _ = control;
    await post(control, report(1, { a: 1 }));
    await using second = await reopened(control);
    await second.ledger.apply(report(1, { a: 1 }) as UsageReport);
    clock.advance(400 * DAY_MS - HOUR_MS);
    await post(control, report(1, { a: 5 }, 'gateway/2'));
    expect(shown(await list(control, 'granularity=total&from=2023-01-01T00:00:00Z'))).toEqual([
      '01-01T00 a 6',
    ]);
    clock.advance(2 * HOUR_MS);
    await post(control, report(2, { a: 5 }, 'gateway/2'));
    expect(shown(await list(control, 'granularity=total&from=2023-01-01T00:00:00Z'))).toEqual([
      '01-01T00 a 10',
    ]);
  });

  test('is of the own account only', async ({ expect }) => {
    const { control } = await controlAt();
    await using _ = control;
    await post(control, report(1, { a: 1 }));
    const { token } = await control.token('owner', { account: 'other' });
    const own = await control.call<Listed>('GET', '/v1/accounts/other/usage', { token });
    expect(own.body.items).toEqual([]);
    const foreign = await control.call('GET', '/v1/accounts/default/usage', { token });
    expect(foreign.status).toBe(404);
    const invoker = await control.token('invoker');
    expect((await control.call('GET', '/v1/accounts/default/usage', invoker)).status).toBe(403);
  });
});

/** The same file, opened again. */
async function reopened(control: World): Promise<AsyncDisposable & { readonly ledger: UsageLedger }> {
  const db = await Database.open({
    path: join(control.folder, 'control.db'),
    clock: control.deps.clock,
    random: Math.random,
    randomId: () => crypto.randomUUID(),
  });
  return { ledger: new UsageLedger(db, control.deps.clock), [Symbol.asyncDispose]: () => db.close() };
}
