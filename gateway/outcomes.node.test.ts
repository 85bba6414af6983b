/** Requests whose instance ended through no fault of theirs: repeated once where that does no harm, and told. */
import { afterEach, beforeEach, describe, test } from 'vitest';
import { OUTCOME } from '#shared/contracts/invoke.ts';
import { startHarness, type CallInit, type Harness } from './testing/harness.node.ts';
import { functionItems } from './testing/items.ts';

let harness: Harness;
beforeEach(async () => {
  harness = await startHarness(functionItems('hello'));
  harness.script.exitReport = { ended: true, reason: 'cpu_exceeded', blamedRequestId: 'another' };
});
afterEach(() => harness[Symbol.asyncDispose]());

const dies = (): Promise<unknown> =>
  harness.instance((request) => {
    request.resume();
    request.on('end', () => request.socket.destroy());
  });
const echoes = (): Promise<unknown> =>
  harness.instance((request, response) => {
    response.setHeader(OUTCOME, 'forged');
    request.pipe(response);
  });

async function call(init: CallInit): Promise<[status: number, text: string, outcome: string | null]> {
  const response = await harness.request('hello.localhost', init);
  const text = await response.text();
  const code = response.status >= 400 ? String((JSON.parse(text) as { code: unknown }).code) : text;
  return [response.status, code, response.headers.get(OUTCOME)];
}

const keyed = (body: string): CallInit => ({ method: 'POST', body, headers: { 'idempotency-key': 'k-1' } });
const counted = () => harness.plane.gateway.metrics.snapshot().requests;

describe('a bystander', () => {
  test('with an idempotency key is repeated with its body, and the answer says so', async ({ expect }) => {
    await dies();
    await echoes();
    expect(await call(keyed('paid once'))).toEqual([200, 'paid once', 'bystander_retried']);
    expect(counted()).toEqual({ bystander_retried: 1 });
  });

  test('that is a GET is repeated too', async ({ expect }) => {
    await dies();
    await echoes();
    expect(await call({})).toEqual([200, '', 'bystander_retried']);
  });

  test('is repeated once and no more', async ({ expect }) => {
    for (let instance = 0; instance < 3; instance += 1) await dies();
    expect(await call(keyed('x'))).toEqual([503, 'instance_lost', null]);
    expect(harness.script.acquires).toHaveLength(2);
    expect(counted()).toEqual({ instance_lost: 1 });
  });

  test.for([
    [65_536, 200],
    [65_537, 503],
  ] as const)('with a body of %i bytes is answered %i', async ([bytes, status], { expect }) => {
    await dies();
    await echoes();
    expect((await call(keyed('x'.repeat(bytes))))[0]).toBe(status);
  });

  test('without a key is not repeated when it is a POST', async ({ expect }) => {
    await dies();
    await echoes();
    expect(await call({ method: 'POST', body: 'x' })).toEqual([503, 'instance_lost', null]);
  });
});

describe('a request whose instance the platform ended', () => {
  beforeEach(() => {
    harness.script.exitReport = { ended: true, reason: 'evicted' };
  });

  test('is repeated by the same rule', async ({ expect }) => {
    await dies();
    await echoes();
    expect(await call(keyed('again'))).toEqual([200, 'again', 'bystander_retried']);
  });

  test('hears of it when it cannot be repeated', async ({ expect }) => {
    await dies();
    expect((await call({ method: 'POST', body: 'x' }))[1]).toBe('evicted');
    expect(counted()).toEqual({ evicted: 1 });
  });
});

test('an answer at first says nothing of a repetition, and a function cannot say it', async ({ expect }) => {
  await echoes();
  expect(await call(keyed('x'))).toEqual([200, 'x', null]);
  expect(counted()).toEqual({ ok: 1 });
});
