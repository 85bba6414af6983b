/**
 * Goal: functions of an account reach each other, and nothing else, through service bindings. Method: real
 * functions on a running platform call each other by fetch and RPC; the outcome is what the caller's code saw.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { WebSocket } from 'ws';
import { createdKeySchema } from '#shared/contracts/access.ts';
import { importSigningKey } from '#shared/signatures/sign.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { ControlApi } from '../support/api.ts';
import { hostOf, TestPlatform, type CallAnswer } from '../support/platform.ts';

let platform: TestPlatform;
const PUBLIC = { auth: { mode: 'public' } } as const;

async function deploy(name: string, source: string, config: Record<string, unknown> = {}): Promise<void> {
  await platform.api.deploy(name, { modules: { 'index.js': source }, config: { ...PUBLIC, ...config } });
}

async function json(name: string, path = '/'): Promise<unknown> {
  const answer = await platform.call(name, { path });
  if (answer.status !== 200) throw new Error(`${name}${path} answered ${answer.status}: ${answer.text}`);
  return JSON.parse(answer.text);
}

const call = (name: string, path: string): Promise<CallAnswer> => platform.call(name, { path });

const TARGET = `
import { WorkerEntrypoint, RpcTarget } from 'cloudflare:workers';
class Counter extends RpcTarget {
  #count = 0;
  increment(by = 1) { return (this.#count += by); }
}
export default class extends WorkerEntrypoint {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === '/own-500') return new Response(new Uint8Array(21), { status: 500 });
    if (url.pathname === '/throw') throw new Error('secret of the target');
    if (url.pathname === '/socket') {
      const pair = new WebSocketPair();
      pair[1].accept();
      pair[1].addEventListener('message', ({ data }) => pair[1].send('echo ' + data));
      return new Response(null, { status: 101, webSocket: pair[0] });
    }
    if (url.pathname === '/stream') return new Response(request.body);
    return Response.json({
      method: request.method, url: request.url, headers: Object.fromEntries(request.headers),
      body: await request.text(),
    });
  }
  add(a, b) { return a + b; }
  whoAmI() { return this.constructor.name === '' || typeof this.env === 'object'; }
  counter() { return new Counter(); }
  numbers(count) {
    return new ReadableStream({
      type: 'bytes',
      start(controller) {
        for (let n = 0; n < count; n += 1) controller.enqueue(new Uint8Array(65536).fill(n));
        controller.close();
      },
    });
  }
  fail() { console.log('about to fail'); throw new RangeError('no such number'); }
}
export class Admin extends WorkerEntrypoint {
  level() { return 'admin of ' + this.env.PLACE; }
  fetch() { return new Response('admin fetch'); }
  explode() { throw new Error('admin exploded'); }
}
export class Unlisted extends WorkerEntrypoint { level() { return 'unlisted'; } fetch() { return new Response('fetched'); } }
export const plain = {
  title: 'a title', get place() { return 'a getter of ' + this.title; },
  fetch: () => new Response('a plain object'),
  greet(name) { return 'hello ' + name + ' from ' + this.title; },
  whereabouts(name, env, ctx) { return [name, env.PLACE, typeof ctx.waitUntil]; },
  async nested(mark) { return { deep: { call: () => 'deep ' + mark } }; },
  broken(name) { throw new RangeError('no such ' + name); },
};
`;

const CALLER = `
export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    try {
      switch (pathname) {
        case '/fetch': {
          const answer = await env.TARGET.fetch('https://some.host/path?q=1', {
            method: 'POST', body: 'hello',
            headers: { 'x-own': '1', 'isoplane-principal': 'root', 'isoplane-request-id': 'forged', 'keep-alive': 'x' },
          });
          return Response.json({ status: answer.status, seen: await answer.json() });
        }
        case '/own-500': { const { status } = await env.TARGET.fetch('http://t/own-500'); return Response.json(status); }
        case '/get-body': return await env.TARGET.fetch(request);
        case '/throw': return await env.TARGET.fetch('http://t/throw');
        case '/stream': {
          const size = 3_000_000;
          const answer = await env.TARGET.fetch('http://t/stream', { method: 'POST', body: new Uint8Array(size).fill(7) });
          const bytes = new Uint8Array(await answer.arrayBuffer());
          return Response.json(bytes.length === size && bytes.every((byte) => byte === 7));
        }
        case '/socket': return env.TARGET.fetch(request);
        case '/plain-rpc': {
          const { PLAIN } = env;
          using nested = PLAIN.nested('!');
          return Response.json([
            await PLAIN.greet('bee'), await PLAIN.whereabouts('here'), await PLAIN.title, await PLAIN.place,
            await nested.deep.call(), await PLAIN.broken('thing').catch((error) => error.name + ': ' + error.message),
          ]);
        }
        case '/add': return Response.json(await env.TARGET.add(2, 3));
        case '/counter': {
          using counter = await env.TARGET.counter();
          await counter.increment();
          return Response.json(await counter.increment(5));
        }
        case '/held': {
          using counter = await env.TARGET.counter();
          await counter.increment();
          await scheduler.wait(2_500);
          return Response.json(await counter.increment());
        }
        case '/numbers': {
          let bytes = 0;
          for await (const chunk of await env.TARGET.numbers(40)) bytes += chunk.byteLength;
          return Response.json(bytes);
        }
        case '/fail': return Response.json(await env.TARGET.fail());
        case '/admin': return Response.json([await env.ADMIN.level(), await (await env.ADMIN.fetch('http://a/')).text()]);
        case '/explode': return Response.json(await env.ADMIN.explode());
        case '/unlisted': return Response.json([
          await env.UNLISTED.level(), await (await env.UNLISTED.fetch('http://u/')).text(),
          await (await env.PLAIN.fetch('http://p/')).text(),
        ]);
        case '/hidden': return await env.HIDDEN.fetch('http://h/');
        case '/hidden-rpc': return Response.json(await env.HIDDEN.level());
        case '/heavy': return await env.TARGET.fetch('http://t/', { headers: { x: 'x'.repeat(40_000) } });
        case '/absent': return await env.ABSENT.fetch('http://a/');
        case '/absent-rpc': return Response.json(await env.ABSENT.add(1, 2));
        case '/connect': {
          const socket = env.TARGET.connect(searchParams.get('to'));
          await socket.opened;
          return Response.json('opened');
        }
      }
    } catch (error) {
      return Response.json({ name: error.name, message: error.message, code: error.code });
    }
    return new Response('?', { status: 404 });
  },
};
`;

beforeAll(async () => {
  platform = await TestPlatform.start();
  await deploy('target', TARGET, {
    entrypoints: ['Admin'],
    vars: { PLACE: 'target' },
    auth: { mode: 'signed' },
  });
  await deploy('caller', CALLER, {
    services: [
      { binding: 'TARGET', function: 'target' },
      { binding: 'ADMIN', function: 'target', entrypoint: 'Admin' },
      { binding: 'HIDDEN', function: 'target', entrypoint: 'Hidden' },
      { binding: 'UNLISTED', function: 'target', entrypoint: 'Unlisted' },
      { binding: 'PLAIN', function: 'target', entrypoint: 'plain' },
      { binding: 'ABSENT', function: 'absent' },
    ],
  });
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('a service binding', () => {
  test('carries fetch with its method, host and body; what only the platform may say is its own', async ({
    expect,
  }) => {
    const { status, seen } = (await json('caller', '/fetch')) as {
      status: number;
      seen: { method: string; url: string; body: string; headers: Record<string, string> };
    };
    expect(status).toBe(200);
    expect(seen).toMatchObject({ method: 'POST', body: 'hello' });
    expect(seen.url).toMatch(/^https?:\/\/some\.host\/path\?q=1$/);
    expect(seen.headers).toMatchObject({
      'x-own': '1',
      'isoplane-principal': 'function:default/caller',
      'isoplane-deadline-ms': '30000',
    });
    expect(seen.headers['isoplane-request-id']).not.toBe('forged');
    expect(seen.headers).not.toHaveProperty('keep-alive');
  });

  test('streams bodies in both directions', async ({ expect }) => {
    expect(await json('caller', '/stream')).toBe(true);
  });

  test('passes WebSockets', async ({ expect }) => {
    const socket = new WebSocket(`${platform.gatewayUrl.replace('http', 'ws')}/socket`, {
      headers: { host: hostOf(platform.gatewayUrl, 'caller') },
    });
    const echo = await new Promise<string>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('open', () => socket.send('hello'));
      socket.on('message', (data: Buffer) => resolve(data.toString('utf8')));
    });
    socket.close();
    expect(echo).toBe('echo hello');
  });

  test('rejects when the target throws, and tells nothing of what it threw', async ({ expect }) => {
    const seen = await json('caller', '/throw');
    expect(seen).toMatchObject({ name: 'BindingError', code: 'function_error' });
    expect(JSON.stringify(seen)).not.toContain('secret');
  });

  test("passes on a response of status 500 that is the target's own", async ({ expect }) => {
    expect(await json('caller', '/own-500')).toBe(500);
  });

  test('keeps the body of a GET', async ({ expect }) => {
    const answer = await platform.call('caller', { path: '/get-body', body: 'a query', method: 'GET' });
    expect(JSON.parse(answer.text)).toMatchObject({ method: 'GET', body: 'a query' });
  });

  test('reaches every entrypoint that the target exports, listed or not, class or object', async ({
    expect,
  }) => {
    expect(await json('caller', '/unlisted')).toEqual(['unlisted', 'fetched', 'a plain object']);
  });

  test('carries RPC to an object: methods with and without env and ctx, values, getters, failures', async ({
    expect,
  }) => {
    expect(await json('caller', '/plain-rpc')).toEqual([
      'hello bee from a title',
      ['here', 'target', 'function'],
      'a title',
      'a getter of a title',
      'deep !',
      'RangeError: no such thing',
    ]);
  });

  test('carries RPC: values, returned objects, streams, named entrypoints', async ({ expect }) => {
    expect(await json('caller', '/add')).toBe(5);
    expect(await json('caller', '/counter')).toBe(6);
    expect(await json('caller', '/numbers')).toBe(40 * 65_536);
    expect(await json('caller', '/admin')).toEqual(['admin of target', 'admin fetch']);
  });

  test('keeps an object of the target alive while the caller holds it, however quiet', async ({ expect }) => {
    expect(await json('caller', '/held')).toBe(2);
  });

  test('lets an exception of an RPC method through to the caller, and logs it where it was thrown', async ({
    expect,
  }) => {
    expect(await json('caller', '/fail')).toEqual({ name: 'RangeError', message: 'no such number' });
    expect(await json('caller', '/explode')).toEqual({ name: 'Error', message: 'admin exploded' });
    await waitFor('the logs of the target', async () => {
      const logs = (await platform.cli(['logs', 'target'])).stdout;
      return (
        logs.includes('about to fail') && logs.includes('no such number') && logs.includes('admin exploded')
      );
    });
  });

  test('reaches no class that the target does not export, and no function that is not there', async ({
    expect,
  }) => {
    expect(await json('caller', '/hidden')).toMatchObject({ code: 'binding_not_found' });
    expect(await json('caller', '/hidden-rpc')).toHaveProperty('message');
    expect(await json('caller', '/absent')).toMatchObject({ code: 'function_not_found' });
    expect(await json('caller', '/absent-rpc')).toHaveProperty('message');
    await waitFor('the reasons in the log of the caller', async () => {
      const logs = (await platform.cli(['logs', 'caller'])).stdout;
      return /RPC to \w+ failed: binding_not_found/.test(logs) && /failed: function_not_found/.test(logs);
    });
  });

  test('says that headers are too large', async ({ expect }) => {
    expect(await json('caller', '/heavy')).toMatchObject({ code: 'headers_too_large' });
  });

  test('opens no raw connection', async ({ expect }) => {
    expect(await json('caller', '/connect?to=some.host:80')).not.toBe('opened');
  });
});

describe('a binding names a function of its own account', () => {
  test('a name that exists in another account alone is not found', async ({ expect }) => {
    const { api } = platform;
    expect((await api.call('POST', '/v1/accounts', { name: 'other' })).status).toBe(201);
    const made = await api.expect(createdKeySchema, 'POST', '/v1/accounts/other/keys', {
      name: 'owner',
      role: 'owner',
      algorithm: 'hmac-sha256',
    });
    const key = await importSigningKey({
      keyId: made.id,
      algorithm: 'hmac-sha256',
      secret: made.secret ?? '',
    });
    const other = new ControlApi(api.url, key, 'other');
    await other.deploy('spy', {
      modules: {
        'index.js': `export default { fetch: (request, env) => env.T.fetch('http://t/').catch(({ code, message }) => Response.json({ code, message })) };`,
      },
      config: { ...PUBLIC, services: [{ binding: 'T', function: 'target' }] },
    });
    const seen = await json('spy.other');
    expect(seen).toMatchObject({
      code: 'function_not_found',
      message: expect.stringContaining('There is no function target') as string,
    });
    expect((await call('caller', '/fetch')).status).toBe(200);
  });

  test('a name cannot hold an account', async ({ expect }) => {
    const answer = await platform.api.upload('bad-name', {
      modules: { 'index.js': 'export default { fetch: () => new Response() }' },
      config: { services: [{ binding: 'A', function: 'other/target' }] },
    });
    expect(answer.status).toBe(422);
  });
});

describe('publishing', () => {
  test('refuses an entrypoint that the module does not export', async ({ expect }) => {
    const answer = await platform.api.upload('incomplete', {
      modules: { 'index.js': 'export default { fetch: () => new Response() }' },
      config: { entrypoints: ['Missing'] },
    });
    expect(answer).toMatchObject({ status: 422, body: { code: 'publish_startup_failed' } });
    expect(JSON.stringify(answer.body)).toContain('The entrypoint Missing is listed');
  });

  test('refuses two bindings of one name', async ({ expect }) => {
    const answer = await platform.api.upload('twice', {
      modules: { 'index.js': 'export default { fetch: () => new Response() }' },
      config: { vars: { A: '1' }, services: [{ binding: 'A', function: 'target' }] },
    });
    expect(answer).toMatchObject({ status: 422, body: { code: 'config_invalid' } });
  });
});
