/**
 * Goal: whoever calls gets his own refusal and reaches nothing that is not his. Method: bytes and floods
 * against a mirror. Signatures, tokens and ambiguous framing are attacked in test/e2e/bad-requests.test.ts,
 * uploads in test/e2e/bad-uploads.test.ts, permissions in control/api/access.test.ts.
 */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { hostOf } from '../support/platform.ts';
import { rawExchange } from '../support/raw.ts';
import { Arena } from './suite.ts';
import { CALLERS, MIRROR_SOURCE } from './callers.ts';

let arena: Arena;
let host = '';

beforeAll(async () => {
  arena = await Arena.open();
  await arena.platform.api.deploy('mirror', {
    modules: { 'index.js': MIRROR_SOURCE },
    config: { auth: { mode: 'public' }, limits: { requestBodyBytes: 1_000, timeoutMs: 2_000 } },
  });
  host = hostOf(arena.platform.gatewayUrl, 'mirror');
});
afterAll(() => arena?.[Symbol.asyncDispose]());

describe('a caller who', { concurrent: true }, () => {
  for (const { name, bytes, must, mustNot } of CALLERS)
    test(`${name} gets his own refusal or nothing more`, async ({ expect }) => {
      const text = await rawExchange(arena.platform.gatewayUrl, bytes(host), 700);
      expect(text).toMatch(must);
      if (mustNot !== undefined) expect(text).not.toMatch(mustNot);
    });
});

describe('a crowd of callers', () => {
  const port = (): number => Number(new URL(arena.platform.gatewayUrl).port);

  test('that goes away before the answer leaves nothing behind', { timeout: 60_000 }, async ({ expect }) => {
    for (let round = 0; round < 5; round += 1)
      await Promise.all(
        Array.from(
          { length: 40 },
          () =>
            new Promise<void>((resolve) => {
              const socket = connect(port(), '127.0.0.1', () => {
                socket.write(`GET /wait HTTP/1.1\r\nhost: ${host}\r\n\r\n`, () => {
                  socket.destroy();
                  resolve();
                });
              });
              socket.on('error', () => resolve());
            }),
        ),
      );
    const answer = await waitFor('an answer', async () => {
      const { status, text } = await arena.platform.call('mirror');
      return status === 200 ? text : undefined;
    });
    expect(answer).toContain('"method":"GET"');
  });

  test('that only opens connections keeps nobody out', async ({ expect }) => {
    const idle = Array.from({ length: 300 }, () => connect(port(), '127.0.0.1').on('error', () => undefined));
    try {
      expect((await arena.platform.call('mirror')).status).toBe(200);
    } finally {
      for (const socket of idle) socket.destroy();
    }
  });

  test('that sends half a body is let go', async ({ expect }) => {
    const text = await rawExchange(
      arena.platform.gatewayUrl,
      `POST /body HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 500\r\n\r\nhalf`,
      LIMITS.bodyGraceMs + 3_000,
    );
    expect(text).toMatch(/"code":"body_too_slow"/);
  });
});

describe(`after ${CALLERS.length + 3} callers`, () => {
  test('the neighbour has answered every call, and the planes are those that were started', async ({
    expect,
  }) => {
    await arena.stopNeighbour();
    expect(arena.neighbourFailures).toEqual([]);
    expect(arena.restartedPlanes()).toEqual([]);
  });
});
