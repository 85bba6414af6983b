/**
 * A plane that only pretends: it becomes ready, fails or dies as `script-PLANE.json` in the data folder
 * says at each start, and notes in `starts.log` when it starts and stops.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { isErrorCode, PlatformError } from '#shared/errors.ts';
import { runPlane } from '#shared/runtime/plane.node.ts';

interface Script {
  readonly fail?: string;
  readonly hang?: boolean;
}

export async function runScripted(plane: string): Promise<void> {
  const dataDir = process.env['ISOPLANE_DATA_DIR'] ?? '.';
  const note = (text: string): void => appendFileSync(join(dataDir, 'starts.log'), `${text}\n`);
  const file = join(dataDir, `script-${plane}.json`);
  const script = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Script) : {};
  note(plane);
  await runPlane(plane, async () => {
    if (script.fail !== undefined)
      throw new PlatformError(isErrorCode(script.fail) ? script.fail : 'internal', 'told to fail');
    if (script.hang === true) await new Promise((resolve) => setInterval(resolve, 2 ** 30));
    const wanted = Number(process.env[`ISOPLANE_${plane.toUpperCase()}_PORT`] ?? 0);
    const server = createServer((_request, response) => response.end(`${plane} ${process.pid}`));
    await new Promise<void>((resolve) => {
      server.listen(wanted, '127.0.0.1', resolve);
    });
    const { port } = server.address() as AddressInfo;
    return {
      addresses: { http: `http://127.0.0.1:${port}` },
      close: async () => {
        note(`stop ${plane}`);
        server.closeAllConnections();
        await new Promise((resolve) => {
          server.close(resolve);
        });
      },
    };
  });
}
