/** Control answers to its own names alone, so that what was signed for a function opens nothing here. */
import { describe, test } from 'vitest';
import { isOwnName, type OwnNames } from './names.ts';
import { world } from './testing/world.ts';

const loopback: OwnNames = { host: '127.0.0.1', port: 8788, names: ['control.example.com'] };

describe('names of control', () => {
  test.for([
    ['127.0.0.1:8788', true],
    ['LocalHost:8788', true],
    ['[::1]:8788', true],
    ['control.example.com', true],
    ['control.example.com:8788', false],
    ['127.0.0.1:8787', false],
    ['127.0.0.1', false],
    ['192.0.2.7:8788', false],
    ['hello.localhost:8788', false],
    ['', false],
    [undefined, false],
  ] as const)('%s is one of them: %s', ([authority, own], { expect }) => {
    expect(isOwnName(authority, loopback)).toBe(own);
  });
  test('are all addresses of the machine where it listens on all', ({ expect }) => {
    const everywhere = { ...loopback, host: '0.0.0.0' };
    expect(isOwnName('192.0.2.7:8788', everywhere)).toBe(true);
    expect(isOwnName('[2001:db8::1]:8788', everywhere)).toBe(true);
    expect(isOwnName('192.0.2.7:8787', everywhere)).toBe(false);
    expect(isOwnName('hello.localhost:8788', everywhere)).toBe(false);
  });
  test('a call that was signed for a function opens nothing, whoever signed it', async ({ expect }) => {
    await using w = await world();
    const path = '/v1/accounts/default/keys';
    const body = { name: 'stolen', role: 'owner', algorithm: 'token' };
    const reply = await w.call('POST', path, { body, origin: 'http://hello.localhost:8787' });
    expect([reply.status, reply.body['code']]).toEqual([421, 'misdirected']);
    // The very same call under control's own name is accepted, so the name alone was refused.
    expect((await w.call('POST', path, { body })).status).toBe(201);
  });
});
