/** The measure of all things here: workerd alone, a static config, TCP on loopback. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { COMPATIBILITY_DATE } from '../support/api.ts';

export interface RawWorkerd extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

function workerdBinary(): string {
  const entry: unknown = createRequire(import.meta.url)('workerd');
  const path = typeof entry === 'object' && entry !== null && 'default' in entry ? entry.default : undefined;
  if (typeof path !== 'string') throw new Error('the package workerd does not name its binary');
  return path;
}

export async function startRawWorkerd(folder: string, source: string): Promise<RawWorkerd> {
  await writeFile(join(folder, 'worker.js'), source);
  const config = join(folder, 'config.capnp');
  await writeFile(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "${COMPATIBILITY_DATE}",
    )),
    (name = "internet", network = (allow = [])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
`,
  );
  return serveConfig(config);
}

/** Resolves when the socket `http` listens. */
export async function serveConfig(config: string): Promise<RawWorkerd> {
  const child = spawn(workerdBinary(), ['serve', config, '--control-fd=3'], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  const control = child.stdio[3] as Readable;
  const port = await new Promise<number>((resolve, reject) => {
    let text = '';
    control.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      const found = /"event":"listen","socket":"http","port":(\d+)/.exec(text)?.[1];
      if (found !== undefined) resolve(Number(found));
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`workerd ended with ${code}`)));
  });
  return {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    },
  };
}
