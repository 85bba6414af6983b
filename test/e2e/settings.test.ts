/**
 * Goal: a setting reaches the plane that it is for and no other, and none is ignored in silence.
 * Method: the real `isoplane up`, the environment of its real planes, and what the platform then says of itself.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { runCli } from '../support/cli.ts';
import { UpProcess } from '../support/up.ts';

const KV_READER = `export default { async fetch(request, env) {
  try { await env.KV.put('a', 'b'); return new Response('put'); } catch (refusal) { return new Response('refused'); }
} };`;

async function environmentOf(pid: number): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(`/proc/${pid}/environ`, 'utf8');
  return new Map(
    text.split('\0').flatMap((entry) => {
      const at = entry.indexOf('=');
      return at < 0 ? [] : [[entry.slice(0, at), entry.slice(at + 1)] as const];
    }),
  );
}

describe('isoplane up', () => {
  test('passes each setting to the plane it is for, which goes by it', async ({ expect }) => {
    await using folder = await tempFolder();
    const ofNode = {
      ISOPLANE_CAPACITY: '7',
      ISOPLANE_SLOTS_MAX: '5',
      ISOPLANE_MEMORY_RESERVE_BYTES: '1048576',
      ISOPLANE_CODE_CACHE_BYTES: '33554432',
      ISOPLANE_EGRESS_ALLOW_PRIVATE: '127.0.0.1:9',
      ISOPLANE_EGRESS_DNS: '127.0.0.1:5353',
      ISOPLANE_KV_URL: 'http://127.0.0.1:9',
      ISOPLANE_KV_AUTH_TOKEN: 'kv-token',
    };
    // Without the addresses that they are for: what they open is nobody else's to know.
    const ofControl = {
      ISOPLANE_DATABASE_TOKEN: 'database-token',
      ISOPLANE_BLOBS_ACCESS_KEY_ID: 'bucket-key',
      ISOPLANE_BLOBS_SECRET_ACCESS_KEY: 'bucket-secret',
    };
    await using up = await UpProcess.start(join(folder.path, 'data'), [], {
      ...ofNode,
      ...ofControl,
      ISOPLANE_BASE_DOMAIN: 'functions.test',
      ISOPLANE_LOG_LEVEL: 'warn',
    });
    const environments = new Map(
      await Promise.all(
        Object.entries(up.pids).map(async ([plane, pid]) => [plane, await environmentOf(pid)] as const),
      ),
    );
    expect([...environments.keys()].sort()).toEqual(['control', 'gateway', 'node', 'scheduler']);
    for (const [plane, environment] of environments) {
      expect(environment.get('ISOPLANE_LOG_LEVEL'), plane).toBe('warn');
      for (const [name, value] of Object.entries(ofNode))
        expect(environment.get(name), `${name} of ${plane}`).toBe(plane === 'node' ? value : undefined);
      for (const [name, value] of Object.entries(ofControl))
        expect(environment.get(name), `${name} of ${plane}`).toBe(plane === 'control' ? value : undefined);
    }
    for (const plane of ['control', 'gateway'])
      expect(environments.get(plane)?.get('ISOPLANE_BASE_DOMAIN'), plane).toBe('functions.test');
    expect((await up.api.status()).nodes[0]?.capacity).toBe(7);
    const made = await up.api.call('POST', 'kv-namespaces', { name: 'notes' });
    expect(made.status).toBe(201);
    await up.api.deploy('reader', {
      modules: { 'index.js': KV_READER },
      config: { auth: { mode: 'public' }, kv: [{ binding: 'KV', namespace: 'notes' }] },
    });
    // Nothing listens there: a put that succeeded would have gone to a file.
    const put = await request(up.gatewayUrl, { headers: { host: 'reader.functions.test' } });
    expect(await put.body.text()).toBe('refused');
  });

  for (const [what, env, says] of [
    ['a misspelt setting', { ISOPLANE_CAPACTIY: '7' }, 'did you mean ISOPLANE_CAPACITY?'],
    ['a setting that nobody knows', { ISOPLANE_FLYING: '1' }, 'ISOPLANE_FLYING is no setting'],
    ['a value that its plane refuses', { ISOPLANE_CAPACITY: 'many' }, 'ISOPLANE_CAPACITY: '],
    ['a setting that it makes itself', { ISOPLANE_NODE_ID: 'mine' }, 'ISOPLANE_NODE_ID is set by'],
  ] as const)
    test(`refuses ${what} before it makes anything`, async ({ expect }) => {
      await using folder = await tempFolder();
      const dataDir = join(folder.path, 'data');
      const { code, stderr } = await runCli(['--data', dataDir, 'up', '--port', '0', '--control-port', '0'], {
        env: { ...env },
      });
      expect(stderr).toContain(says);
      expect(code).toBe(2);
      expect(existsSync(dataDir)).toBe(false);
    });

  test('a plane alone refuses a misspelt setting too', async ({ expect }) => {
    await using folder = await tempFolder();
    const { code, stderr } = await runCli(['--data', join(folder.path, 'data'), 'node'], {
      env: { ISOPLANE_SLOT: '3' },
    });
    expect(stderr).toContain('did you mean ISOPLANE_SLOTS?');
    expect(code).toBe(2);
  });
});
