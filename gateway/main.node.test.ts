/** The entry as the supervisor starts it, and the hot path in front of a real workerd. */
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, test } from 'vitest';
import { planeMessageSchema, type PlaneMessage } from '#shared/runtime/plane.node.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { startHarness } from './testing/harness.node.ts';
import { functionItems } from './testing/items.ts';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function start(environment: Record<string, string>): Promise<PlaneMessage> {
  const child = fork(fileURLToPath(new URL('main.ts', import.meta.url)), {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    execArgv: [],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(planeMessageSchema.parse(message)));
    child.once('exit', (code) => reject(new Error(`ended with ${code}`)));
  });
}

describe('gateway process', () => {
  test('serves on a free port, shares it on request, and names the port when it is taken', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const common = {
      ISOPLANE_DATA_DIR: join(folder.path, 'data'),
      ISOPLANE_GATEWAY_PORT: '0',
      ISOPLANE_GATEWAY_REUSE_PORT: '1',
    };
    const first = await start(common);
    const url = first.type === 'ready' ? (first.addresses['gateway'] ?? '') : '';
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: 'ok', revision: 0 });
    const port = new URL(url).port;
    const shared = await start({ ...common, ISOPLANE_GATEWAY_ID: 'gateway-2', ISOPLANE_GATEWAY_PORT: port });
    expect(shared).toEqual(first);
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const takenPort = String((taken.address() as AddressInfo).port);
    const refused = await start({
      ...common,
      ISOPLANE_GATEWAY_ID: 'gateway-3',
      ISOPLANE_GATEWAY_REUSE_PORT: '0',
      ISOPLANE_GATEWAY_PORT: takenPort,
    });
    taken.close();
    expect(refused).toMatchObject({
      type: 'failed',
      code: 'port_in_use',
      message: expect.stringContaining(takenPort),
    });
  });

  test('answers that control is missing before the first snapshot', async ({ expect }) => {
    await using folder = await tempFolder();
    const ready = await start({
      ISOPLANE_DATA_DIR: join(folder.path, 'data'),
      ISOPLANE_GATEWAY_PORT: '0',
      ISOPLANE_BASE_DOMAIN: 'nowhere.test',
    });
    const url = ready.type === 'ready' ? (ready.addresses['gateway'] ?? '') : '';
    const answer = await fetch(`${url.replace('127.0.0.1', 'localhost')}/`);
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([
      503,
      'control_unavailable',
    ]);
  });
});

/** The package has no types. */
const { default: workerd } = createRequire(import.meta.url)('workerd') as { default: string };

const CONFIG = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .w), (name = "internet", network = (allow = []))],
  sockets = [(name = "h", address = "unix:SOCKET", http = (), service = "main")]);
const w :Workerd.Worker = (modules = [(name = "w.js", esModule = embed "w.js")], compatibilityDate = "2025-09-01");`;

const WORKER = `export default { async fetch(request) {
  const url = new URL(request.url);
  if (url.pathname === '/echo') return new Response(request.body);
  if (url.pathname === '/ws') {
    const [client, server] = Object.values(new WebSocketPair());
    server.accept();
    server.addEventListener('message', (event) => server.send('echo ' + event.data));
    server.addEventListener('close', () => server.close());
    return new Response(null, { status: 101, webSocket: client });
  }
  if (url.pathname === '/empty') return new Response(null, { status: 204 });
  return Response.json({ url: request.url, method: request.method });
} };`;

describe('gateway in front of workerd', () => {
  test('carries bodies, empty answers, HEAD and WebSockets', async ({ expect }) => {
    await using harness = await startHarness(functionItems('hello'));
    const socketPath = join(harness.folder, 'w.sock');
    await writeFile(join(harness.folder, 'w.js'), WORKER);
    await writeFile(join(harness.folder, 'c.capnp'), CONFIG.replace('SOCKET', socketPath));
    const child = spawn(workerd, ['serve', join(harness.folder, 'c.capnp'), '--control-fd=3'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    children.push(child);
    await new Promise((resolve) => child.stdio[3]?.once('data', resolve));
    harness.grant(socketPath);
    expect(await (await harness.request('hello.localhost:8787', { path: '/a?b=1' })).json()).toEqual({
      url: 'http://hello.localhost:8787/a?b=1',
      method: 'GET',
    });
    const body = 'x'.repeat(3_000_000);
    expect(
      await (await harness.request('hello.localhost', { method: 'POST', path: '/echo', body })).text(),
    ).toBe(body);
    expect((await harness.request('hello.localhost', { path: '/empty' })).status).toBe(204);
    expect((await harness.request('hello.localhost', { method: 'HEAD' })).status).toBe(200);
    const { WebSocket } = await import('ws');
    const client = new WebSocket(`ws://127.0.0.1:${harness.plane.port}/ws`, {
      headers: { host: 'hello.localhost' },
    });
    client.once('open', () => client.send('hi'));
    expect(
      await new Promise((resolve) => client.once('message', (data: Buffer) => resolve(data.toString()))),
    ).toBe('echo hi');
    client.close();
    await waitFor('the slot', () => harness.plane.gateway.metrics.snapshot().inFlight === 0);
  });
});
