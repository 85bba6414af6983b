/** Baseline of a cold start: a bare workerd that waits on stdin, from config written to its first answer. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { findWorkerd } from '#nodes/sandbox/binaries.ts';
import { callSocket } from '#nodes/testing/world.ts';
import { encodeWorkerdConfig } from '#nodes/workerd/encode.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { saying } from './functions.ts';

const SETTLE_MS = 60;
const CONFIG = encodeWorkerdConfig({
  services: [
    {
      name: 'main',
      kind: 'worker',
      modules: [{ name: 'index.js', type: 'esm', content: new TextEncoder().encode(saying('raw')) }],
      compatibilityDate: '2026-11-01',
      compatibilityFlags: [],
      bindings: [],
      globalOutbound: 'internet',
    },
    { name: 'internet', kind: 'network', allow: [] },
  ],
  sockets: [{ name: 'instance', service: 'main', cfBlobHeader: 'isoplane-cf' }],
  v8Flags: [],
});

/** @returns ms from the config to the end of the first answer. */
export async function rawStartMs(): Promise<number> {
  await using folder = await tempFolder();
  const args = ['serve', '--binary', '-', '--socket-addr=instance=unix:w.sock', '--control-fd=3'];
  const child = spawn(await findWorkerd(), args, {
    cwd: folder.path,
    env: {},
    stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
  });
  try {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const begin = performance.now();
    const listening = new Promise((resolve) => (child.stdio[3] as Readable).once('data', resolve));
    child.stdin?.end(CONFIG);
    await listening;
    await callSocket(join(folder.path, 'w.sock'));
    return performance.now() - begin;
  } finally {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}
