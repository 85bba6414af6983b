/**
 * The real control process: started, called over HTTP, killed at any moment, started again. A real Unix
 * socket server stands in for the node agent.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'vitest';
import type { PublishReply, VersionView } from '#shared/contracts/api.ts';
import { credentialsSchema } from '#shared/contracts/credentials.ts';
import { ensurePrivateFolder, layoutOf } from '#shared/runtime/layout.node.ts';
import { planeMessageSchema, type PlaneMessage } from '#shared/runtime/plane.node.ts';
import { closeServer, peerOf, serveAt } from '#shared/runtime/transport.node.ts';
import { importSigningKey, signRequest, type SigningKey } from '#shared/signatures/sign.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { multipart, publishParts } from './testing/world.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

class Control implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly #exited: Promise<number | null>;
  readonly #first: Promise<PlaneMessage>;

  constructor(dataDir: string, environment: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [MAIN], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      env: { ...process.env, ISOPLANE_DATA_DIR: dataDir, ISOPLANE_CONTROL_PORT: '0', ...environment },
    });
    this.#exited = new Promise((resolve) => this.child.once('exit', (code) => resolve(code)));
    this.#first = new Promise((resolve) =>
      this.child.once('message', (message) => resolve(planeMessageSchema.parse(message))),
    );
  }

  async message(): Promise<PlaneMessage> {
    return this.#first;
  }

  async url(): Promise<string> {
    const message = await this.#first;
    if (message.type === 'failed') throw new Error(message.message);
    if (message.type !== 'ready') throw new Error(`control said ${message.type} before it was ready`);
    return message.addresses['api'] ?? '';
  }

  async kill(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    return this.#exited;
  }

  exited(): Promise<number | null> {
    return this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill('SIGKILL');
  }
}

async function ownerOf(dataDir: string): Promise<SigningKey> {
  const text = await readFile(layoutOf(dataDir).credentials, 'utf8');
  return importSigningKey(credentialsSchema.parse(JSON.parse(text)));
}

async function call(
  base: string,
  owner: SigningKey,
  request: { method: string; path: string; body?: Uint8Array<ArrayBuffer>; contentType?: string },
): Promise<{ status: number; body: unknown }> {
  const answer = await send(base, owner, request);
  // Signed in the second in which this process started.
  if (answer.status !== 401) return answer;
  await new Promise((resolve) => setTimeout(resolve, 1_000 - (Date.now() % 1_000)));
  return send(base, owner, request);
}

async function send(
  base: string,
  owner: SigningKey,
  request: { method: string; path: string; body?: Uint8Array<ArrayBuffer>; contentType?: string },
): Promise<{ status: number; body: unknown }> {
  const url = base + request.path;
  const body = request.body === undefined ? {} : { body: request.body };
  const headers = await signRequest({ method: request.method, url, ...body }, owner, { nowMs: Date.now() });
  const response = await fetch(url, {
    method: request.method,
    headers: {
      ...headers,
      ...(request.contentType === undefined ? {} : { 'content-type': request.contentType }),
    },
    ...body,
  });
  return { status: response.status, body: await response.json() };
}

/** Accepts every trial start. */
async function agreeingNode(dataDir: string): Promise<AsyncDisposable> {
  const layout = layoutOf(dataDir);
  await ensurePrivateFolder(layout.runDir);
  const server = await serveAt(layout.sockets.node('node-1'), () => Response.json({ ok: true, startMs: 1 }));
  return { [Symbol.asyncDispose]: () => closeServer(server, 0) };
}

describe('the control process', () => {
  test('kill -9 during publishes loses nothing that was answered and leaves no half version', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    await using _node = await agreeingNode(dataDir);
    const acknowledged = new Map<number, string>();
    for (let round = 0; round < 3; round += 1) {
      await using control = new Control(dataDir);
      const base = await control.url();
      const owner = await ownerOf(dataDir);
      let answered = 0;
      const publishing = Array.from({ length: 4 }, async (_, lane) => {
        for (let index = 0; ; index += 1) {
          const code = `export default "${round}-${lane}-${index}"`;
          const { raw, contentType } = await multipart(publishParts({ 'main.js': code }));
          const path = '/v1/accounts/default/functions/hello/versions';
          const reply = await call(base, owner, { method: 'POST', path, body: raw, contentType });
          const { version } = reply.body as PublishReply;
          acknowledged.set(version.number, version.digest);
          answered += 1;
          // Killed from within, while the other lanes are in the middle of theirs.
          if (answered === 10) void control.kill('SIGKILL');
        }
      });
      await Promise.allSettled(publishing);
    }
    expect(acknowledged.size).toBeGreaterThanOrEqual(30);
    await using control = new Control(dataDir);
    const base = await control.url();
    const owner = await ownerOf(dataDir);
    const path = '/v1/accounts/default/functions/hello/versions?limit=200';
    const { body } = await call(base, owner, { method: 'GET', path });
    const { items } = body as { items: VersionView[] };
    const stored = new Map(items.map((version) => [version.number, version.digest]));
    for (const [number, digest] of acknowledged)
      expect([number, stored.get(number)]).toEqual([number, digest]);
    const numbers = [...stored.keys()].sort((left, right) => left - right);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    const peer = peerOf(layoutOf(dataDir).sockets.control);
    for (const version of items)
      for (const module of version.modules)
        expect((await peer.bytes(`/internal/blobs/${module.digest}`, 10_000)).byteLength).toBe(module.bytes);
    await peer.close();
  });

  test('first start makes private files; a second start keeps the key; SIGTERM ends it with 0', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    const layout = layoutOf(dataDir);
    const first = new Control(dataDir);
    await first.url();
    for (const file of [layout.database, layout.credentials, layout.keyEncryptionKey])
      expect([file, (await stat(file)).mode & 0o777]).toEqual([file, 0o600]);
    for (const name of [layout.dataDir, layout.blobs, layout.runDir])
      expect([name, (await stat(name)).mode & 0o777]).toEqual([name, 0o700]);
    const credentials = await readFile(layout.credentials, 'utf8');
    expect(await first.kill('SIGTERM')).toBe(0);
    await using second = new Control(dataDir);
    const base = await second.url();
    expect(await readFile(layout.credentials, 'utf8')).toBe(credentials);
    const reply = await call(base, await ownerOf(dataDir), { method: 'GET', path: '/v1/status' });
    expect(reply.status).toBe(200);
  });

  test('a second platform on the folder, a port in use, a damaged database: each says so and exits with 1', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    await using running = new Control(dataDir);
    await running.url();
    await using second = new Control(dataDir);
    expect(await second.message()).toMatchObject({ type: 'failed', code: 'data_folder_in_use' });
    expect(await second.exited()).toBe(1);

    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? String(address.port) : '';
    await using blocked = new Control(join(folder.path, 'other'), { ISOPLANE_CONTROL_PORT: port });
    expect(await blocked.message()).toMatchObject({ type: 'failed', code: 'port_in_use' });
    expect(await blocked.exited()).toBe(1);
    server.close();

    const broken = layoutOf(join(folder.path, 'broken'));
    await ensurePrivateFolder(broken.dataDir);
    await writeFile(broken.database, 'x'.repeat(5_000));
    await using damaged = new Control(broken.dataDir);
    expect(await damaged.message()).toMatchObject({ type: 'failed', code: 'database_corrupt' });
    expect(await damaged.exited()).toBe(1);
  });

  for (const [how, content] of [
    ['cut', 'abc'],
    ['empty', ''],
    ['full of something else', '\u0000{"not": "a key"}'],
  ] as const)
    test(`a key file that is ${how} is named, with what to do about it`, async ({ expect }) => {
      await using folder = await tempFolder();
      const layout = layoutOf(folder.path);
      await ensurePrivateFolder(dirname(layout.nodeKey));
      await writeFile(layout.nodeKey, content);
      await using control = new Control(folder.path);
      expect(await control.message()).toMatchObject({
        type: 'failed',
        code: 'config_invalid',
        message: expect.stringContaining(`${layout.nodeKey} is damaged: restore it`) as string,
      });
      expect(await readFile(layout.nodeKey, 'utf8')).toBe(content);
    });
});
