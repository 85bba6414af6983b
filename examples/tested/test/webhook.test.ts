import { createHmac } from 'node:crypto';
import { afterAll, describe, test } from 'vitest';
import { startFunction } from 'isoplane/vitest';
import type { Env } from '../src/index.ts';

const KEY = 'of the test alone';
const app = await startFunction<Env, { newest(): Promise<unknown> }>(`${import.meta.dirname}/..`, {
  secrets: { WEBHOOK_KEY: KEY },
});
afterAll(() => app.close());

const send = (body: string, key: string): Promise<Response> =>
  app.fetch('/', {
    method: 'POST',
    body,
    headers: { 'x-signature-256': `sha256=${createHmac('sha256', key).update(body).digest('hex')}` },
  });

describe('the webhook', () => {
  test('keeps what was signed with the key', async ({ expect }) => {
    expect((await send('{"id":1}', KEY)).status).toBe(204);
    // The binding, as the function has it.
    expect(await app.env.EVENTS.get('newest')).toBe('{"id":1}');
    expect(await app.self.newest()).toEqual({ id: 1 });
  });

  test('refuses what was signed with another', async ({ expect }) => {
    const answer = await send('{"id":2}', 'guessed');
    expect([answer.status, await answer.text()]).toEqual([401, 'wrong signature\n']);
    expect(await app.env.EVENTS.get('newest')).toBe('{"id":1}');
  });
});
