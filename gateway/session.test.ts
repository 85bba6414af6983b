import { describe, test } from 'vitest';
import { scalingSchema } from '#shared/contracts/config.ts';
import type { Call } from './ports.ts';
import { sessionOf } from './session.ts';

const call = (headers: Readonly<Record<string, string>>, scheme: Call['scheme'] = 'http'): Call =>
  ({ scheme, header: (name: string) => headers[name] }) as Call;
const newId = (): string => 'fresh';
const BY_COOKIE = scalingSchema.parse({ isolation: 'session' });
const BY_HEADER = scalingSchema.parse({
  isolation: 'session',
  session: { by: 'header', name: 'X-Session' },
});

describe('sessionOf()', () => {
  test('finds none where instances are shared', ({ expect }) => {
    const headers = { cookie: 'isoplane_session=abc' };
    expect(sessionOf(call(headers), scalingSchema.parse({}), newId)).toBeUndefined();
  });

  test.for([
    ['isoplane_session=abc', 'abc'],
    ['a=1; isoplane_session=abc-_9; b=2', 'abc-_9'],
    ['isoplane_session=first; isoplane_session=second', 'first'],
    [`isoplane_session=${'x'.repeat(64)}`, 'x'.repeat(64)],
  ] as const)('reads the cookie of %s', ([cookie, id], { expect }) => {
    expect(sessionOf(call({ cookie }), BY_COOKIE, newId)).toEqual({ id, told: [] });
  });

  test.for([
    '',
    'other=abc',
    'isoplane_session=',
    'isoplane_session="abc"',
    'isoplane_session=a b',
    `isoplane_session=${'x'.repeat(65)}`,
    'isoplane_session=~1',
  ])('begins a session and tells it for %j', (cookie, { expect }) => {
    expect(sessionOf(call({ cookie }), BY_COOKIE, newId)).toEqual({
      id: 'fresh',
      told: ['set-cookie', 'isoplane_session=fresh; Path=/; HttpOnly; SameSite=Lax'],
    });
  });

  test('keeps the cookie to https where it came by https', ({ expect }) => {
    expect(sessionOf(call({}, 'https'), BY_COOKIE, newId)?.told[1]).toMatch(/; Secure$/);
  });

  test('reads and tells a header under the name that the function gave it', ({ expect }) => {
    expect(sessionOf(call({ 'x-session': 'abc' }), BY_HEADER, newId)).toEqual({ id: 'abc', told: [] });
    expect(sessionOf(call({ 'x-session': 'abc, def' }), BY_HEADER, newId)).toEqual({
      id: 'fresh',
      told: ['X-Session', 'fresh'],
    });
  });

  test.for(['Host', 'content-length', 'Set-Cookie', 'isoplane-version', 'x'])(
    'a function cannot have its sessions in %s',
    (name, { expect }) => {
      const scaling = { isolation: 'session', session: { by: 'header', name } };
      expect(scalingSchema.safeParse(scaling).success).toBe(false);
    },
  );
});
