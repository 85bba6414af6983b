import { describe, test } from 'vitest';
import { Shares } from './shares.ts';
import { Permits } from './permits.ts';

const permitsOf = (permits: number, places: number) =>
  new Permits({
    permits: new Shares('control.trials', { total: permits }),
    places: new Shares('control.trialPlaces', { total: places }),
    goneCode: 'control_unavailable',
  });

/** Work that ends when it is told to. */
function work(permits: Permits, account: string, log: string[], signal = new AbortController().signal) {
  let end = (): void => undefined;
  const done = permits
    .run(account, signal, () => {
      log.push(account);
      return new Promise<void>((resolve) => (end = resolve));
    })
    .catch(
      (error: { code?: string; name?: string }) => void log.push(`${account} ${error.code ?? error.name}`),
    );
  return { done, end: () => end() };
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('Permits', () => {
  test('one account takes half, another starts at once beside it', async ({ expect }) => {
    const permits = permitsOf(4, 64);
    const log: string[] = [];
    for (let index = 0; index < 24; index += 1) work(permits, 'hostile', log);
    work(permits, 'good', log);
    await turn();
    expect(log).toEqual(['hostile', 'hostile', 'good']);
  });

  test('the next permit goes to who holds the fewest, not to who came first', async ({ expect }) => {
    const permits = permitsOf(2, 64);
    const log: string[] = [];
    const first = work(permits, 'hostile', log);
    const second = work(permits, 'x', log);
    for (let index = 0; index < 5; index += 1) work(permits, 'hostile', log);
    const good = work(permits, 'good', log);
    await turn();
    expect(log).toEqual(['hostile', 'x']);
    second.end();
    await turn();
    expect(log).toEqual(['hostile', 'x', 'good']);
    good.end();
    await turn();
    expect(log).toEqual(['hostile', 'x', 'good']);
    first.end();
    await turn();
    expect(log).toEqual(['hostile', 'x', 'good', 'hostile']);
  });

  test('one more than may wait is told so, and who goes away waits no more', async ({ expect }) => {
    const permits = permitsOf(2, 4);
    const log: string[] = [];
    const gone = new AbortController();
    work(permits, 'a', log);
    work(permits, 'a', log, gone.signal);
    work(permits, 'a', log);
    work(permits, 'a', log);
    await turn();
    expect(log).toEqual(['a', 'a share_full']);
    gone.abort();
    await turn();
    work(permits, 'a', log);
    await turn();
    expect(log).toEqual(['a', 'a share_full', 'a control_unavailable']);
  });
});
