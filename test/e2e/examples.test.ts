/**
 * Goal: what a user copies from examples/ works. Method: each folder is deployed by the command and called
 * through the gateway of a running platform.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { request } from 'undici';
import { WebSocket } from 'ws';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { repositoryRoot } from '../support/paths.ts';
import { hostOf, TestPlatform } from '../support/platform.ts';

const examples = join(repositoryRoot, 'examples');
const TESTED = [
  'event-function',
  'hello',
  'jwt-protected',
  'kv',
  'layers',
  'rest-api',
  'service-binding',
  'static-site',
  'streaming-sse',
  'tested',
  'wasm',
  'websocket-echo',
];
let platform: TestPlatform;

async function deploy(name: string, ...options: readonly string[]): Promise<void> {
  const result = await platform.cli(['deploy', join(examples, name), ...options]);
  if (result.code !== 0) throw new Error(`deploy of ${name} ended with ${result.code}\n${result.stderr}`);
}

beforeAll(async () => {
  platform = await TestPlatform.start();
});
afterAll(() => platform?.[Symbol.asyncDispose]());

describe('the examples', () => {
  test('are all tested here', async ({ expect }) => {
    const entries = await readdir(examples, { withFileTypes: true });
    const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    expect(folders.sort()).toEqual(TESTED);
  });

  test('hello greets whoever signs, and nobody else', async ({ expect }) => {
    await deploy('hello');
    expect(await platform.call('hello')).toMatchObject({ status: 401, code: 'signature_missing' });
    const answer = await platform.call('hello', { path: '/?name=Ada', sign: true });
    expect(answer).toMatchObject({ status: 200, text: 'Hello, Ada!\n' });
  });

  test('rest-api keeps a list of things to do', async ({ expect }) => {
    await deploy('rest-api');
    const post = (body: string) =>
      platform.call('rest-api', {
        method: 'POST',
        path: '/todos',
        body,
        headers: { 'content-type': 'application/json' },
      });
    const created = await post('{"title":" try Isoplane "}');
    expect(created.status).toBe(201);
    expect(created.headers['location']).toBe('/todos/1');
    expect(JSON.parse(created.text)).toEqual({ id: 1, title: 'try Isoplane', done: false });
    expect((await post('{"title":""}')).status).toBe(422);
    const patched = await platform.call('rest-api', {
      method: 'PATCH',
      path: '/todos/1',
      body: '{"done":true}',
    });
    expect(JSON.parse(patched.text)).toEqual({ id: 1, title: 'try Isoplane', done: true });
    expect((await platform.call('rest-api', { method: 'DELETE', path: '/todos/1' })).status).toBe(204);
    expect((await platform.call('rest-api', { path: '/todos/1' })).status).toBe(404);
    expect((await platform.call('rest-api', { path: '/todos' })).text).toBe('[]');
  });

  test('jwt-protected sees verified claims only', async ({ expect }) => {
    await deploy('jwt-protected');
    expect(await platform.call('jwt-protected')).toMatchObject({ status: 401, code: 'token_missing' });
    const made = await promisify(execFile)(process.execPath, [
      join(examples, 'jwt-protected', 'token.mjs'),
      'grace',
    ]);
    const answer = await platform.call('jwt-protected', {
      headers: { authorization: `Bearer ${made.stdout.trim()}`, 'isoplane-principal': 'root' },
    });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toMatchObject({
      principal: 'token:grace',
      claims: { sub: 'grace', scope: 'read', aud: 'jwt-protected' },
    });
  });

  test('static-site serves its pages to everybody without an instance, and its API to holders of a token', async ({
    expect,
  }) => {
    await deploy('static-site');
    const running = async (): Promise<number[]> =>
      (await platform.api.status()).nodes.map(({ instances }) => instances);
    const before = await running();
    const page = await platform.call('static-site', { path: '/about' });
    expect(page).toMatchObject({
      status: 200,
      headers: { 'content-type': 'text/html; charset=utf-8', 'x-frame-options': 'DENY' },
    });
    expect(page.text).toContain('Seven words');
    const seen = await Promise.all(
      ['/', '/about.html', '/blog', '/home', '/news/x', '/me', '/nowhere', '/style.css'].map(async (path) => {
        const { status, headers } = await platform.call('static-site', { path });
        return [path, status, headers['location'], headers['cache-control']];
      }),
    );
    const fresh = 'public, max-age=0, must-revalidate';
    expect(seen).toEqual([
      ['/', 200, undefined, fresh],
      ['/about.html', 307, '/about', undefined],
      ['/blog', 307, '/blog/', undefined],
      ['/home', 301, '/', undefined],
      ['/news/x', 302, '/blog/x', undefined],
      ['/me', 200, undefined, fresh],
      ['/nowhere', 404, undefined, fresh],
      ['/style.css', 200, undefined, 'public, max-age=3600'],
    ]);
    expect(await running()).toEqual(before);
    expect(await platform.call('static-site', { path: '/api/words' })).toMatchObject({
      status: 401,
      code: 'token_missing',
    });
    const { stdout } = await promisify(execFile)(process.execPath, [
      join(examples, 'jwt-protected', 'token.mjs'),
    ]);
    const authorization = `Bearer ${stdout.trim()}`;
    const api = await platform.call('static-site', { path: '/api/words', headers: { authorization } });
    expect([api.status, JSON.parse(api.text)]).toEqual([200, { words: 8, reader: 'token:ada' }]);
  });

  test('streaming-sse sends its events one by one', async ({ expect }) => {
    await deploy('streaming-sse');
    const response = await request(`${platform.gatewayUrl}/?count=4`, {
      headers: { host: hostOf(platform.gatewayUrl, 'streaming-sse') },
    });
    expect(response.headers['content-type']).toBe('text/event-stream');
    const decoder = new TextDecoder();
    let text = '';
    const arrivals: number[] = [];
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      arrivals.push((text.match(/\n\n/g) ?? []).length);
    }
    expect(text.match(/^data: .*$/gm)).toEqual([1, 2, 3, 4].map((tick) => `data: {"tick":${tick}}`));
    // The first event was here before the last was made: nothing on the way gathers the body.
    expect(arrivals[0]).toBeLessThan(4);
    expect(arrivals.length).toBeGreaterThan(2);
  });

  test('websocket-echo sends every message back', async ({ expect }) => {
    await deploy('websocket-echo');
    expect((await platform.call('websocket-echo')).status).toBe(426);
    const socket = new WebSocket(platform.gatewayUrl.replace('http', 'ws'), {
      headers: { host: hostOf(platform.gatewayUrl, 'websocket-echo') },
    });
    const echoes: unknown[] = [];
    const closed = new Promise<number>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('open', () => {
        socket.send('text');
        socket.send(Buffer.from([0, 1, 255]));
        socket.send('x'.repeat(100_000));
      });
      socket.on('message', (data: Buffer, isBinary) => {
        echoes.push(isBinary ? [...data] : data.toString('utf8'));
        if (echoes.length === 3) socket.close(1000, 'done');
      });
      socket.on('close', resolve);
    });
    expect(await closed).toBe(1000);
    expect(echoes).toEqual(['text', [0, 1, 255], 'x'.repeat(100_000)]);
  });

  test('wasm draws a QR code', async ({ expect }) => {
    await deploy('wasm');
    const answer = await platform.call('wasm', { path: '/?text=hello' });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'image/svg+xml' } });
    expect(answer.text).toContain('<svg');
    // A QR code of version 1 is 21 modules wide: many rectangles or a long path, not a blank picture.
    expect(answer.text.length).toBeGreaterThan(1_000);
    expect((await platform.call('wasm', { path: '/' })).status).toBe(400);
  });

  test('event-function turns an event into a result, and an exception into a function error', async ({
    expect,
  }) => {
    await deploy('event-function');
    const invoke = (body: string) =>
      platform.call('event-function', {
        method: 'POST',
        body,
        sign: true,
        headers: { 'content-type': 'application/json' },
      });
    const answer = await invoke(
      '{"items":[{"name":"tea","price":4,"quantity":2},{"name":"milk","price":1,"quantity":3}]}',
    );
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.text)).toEqual({
      total: 11,
      currency: 'EUR',
      requestId: answer.headers['isoplane-request-id'],
    });
    expect(await invoke('{}')).toMatchObject({ status: 500, code: 'function_error' });
    expect((await invoke('{"items":')).status).toBe(400);
  });

  test('kv keeps links over requests, and lists them', async ({ expect }) => {
    const created = await platform.cli(['kv', 'create', 'links']);
    expect(created.code, created.stderr).toBe(0);
    await deploy('kv');
    const put = (path: string, body: string) => platform.call('kv', { method: 'PUT', path, body });
    expect((await put('/x', 'https://example.com/a')).status).toBe(201);
    expect((await put('/short?days=1', 'https://example.com/b')).status).toBe(201);
    expect((await put('/bad', 'nowhere')).status).toBe(422);
    const followed = await platform.call('kv', { path: '/x' });
    expect([followed.status, followed.headers['location']]).toEqual([302, 'https://example.com/a']);
    expect(JSON.parse((await platform.call('kv', { path: '/' })).text)).toMatchObject([
      { name: 'short' },
      { name: 'x' },
    ]);
    expect((await platform.call('kv', { method: 'DELETE', path: '/x' })).status).toBe(204);
    expect((await platform.call('kv', { path: '/x' })).status).toBe(404);
  });

  test('tested keeps webhooks that carry the right HMAC', async ({ expect }) => {
    await using folder = await tempFolder();
    const key = 'a key of this deployment';
    const secrets = join(folder.path, 'secrets.json');
    await writeFile(secrets, JSON.stringify({ WEBHOOK_KEY: key }), { mode: 0o600 });
    const created = await platform.cli(['kv', 'create', 'events']);
    expect(created.code, created.stderr).toBe(0);
    await deploy('tested', '--secrets-file', secrets);
    const send = (body: string, signedWith: string) =>
      platform.call('tested', {
        method: 'POST',
        body,
        headers: {
          'x-signature-256': `sha256=${createHmac('sha256', signedWith).update(body).digest('hex')}`,
        },
      });
    expect((await send('{"id":1}', key)).status).toBe(204);
    expect(await send('{"id":2}', 'guessed')).toMatchObject({ status: 401, text: 'wrong signature\n' });
    expect((await platform.cli(['kv', 'get', 'events', 'newest'])).stdout).toContain('{"id":1}');
  });

  test('service-binding: a public shop asks prices that nobody else may call', async ({ expect }) => {
    await deploy('service-binding/prices');
    await deploy('service-binding/shop');
    const get = async (path: string) => (await platform.call('shop', { path })).text;
    expect(await platform.call('prices')).toMatchObject({ status: 401 });
    expect(JSON.parse(await get('/prices'))).toEqual({ tea: 4, milk: 1 });
    expect(JSON.parse(await get('/?items=tea,milk,tea'))).toEqual({ total: 9 });
    expect(await get('/?items=gold')).toBe('there is no gold\n');
    expect(await get('/raise')).toBe('5');
    expect(JSON.parse(await get('/prices'))).toEqual({ tea: 5, milk: 1 });
  });

  test('layers: the first listed one shadows a module of the other', async ({ expect }) => {
    for (const layer of ['greet', 'loud']) {
      const result = await platform.cli(['layers', 'publish', layer, layer], join(examples, 'layers'));
      expect(result.code, result.stderr).toBe(0);
    }
    await deploy('layers');
    const answer = await platform.call('layers');
    expect(JSON.parse(answer.text)).toEqual(['HELLO, ADA!', 'HELLO, GRACE!']);
  });
});
