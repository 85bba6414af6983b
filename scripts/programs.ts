/**
 * Deploys project folders to a running platform and calls each: how docs/programs.md is measured.
 *
 *   node scripts/programs.ts DATA_DIR GATEWAY_URL FOLDER|ENTRY_FILE…
 *
 * One JSON line a program: the status of GET / where it was deployed, else the code and problems of the refusal.
 */
import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { get } from 'node:http';
import { dirname, relative, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const COMMAND = fileURLToPath(new URL('../cli/bin.js', import.meta.url));
const DEPLOY_MS_MAX = 120_000;
const CALL_MS_MAX = 30_000;

const [dataDir = '', gatewayUrl = '', ...targets] = process.argv.slice(2);

function deploy(name: string, folder: string, target: string): Promise<{ ok: boolean; said: string }> {
  const args = [COMMAND, '--json', '--data', dataDir, 'deploy', target, '--auth', 'public', '--name', name];
  return new Promise((done) => {
    execFile(process.execPath, args, { cwd: folder, timeout: DEPLOY_MS_MAX }, (failed, stdout, stderr) =>
      done({ ok: failed === null, said: failed === null ? stdout : `${stdout}${stderr}` }),
    );
  });
}

function call(name: string): Promise<number | string> {
  const { hostname, port } = new URL(gatewayUrl);
  return new Promise((done) => {
    const request = get(
      { hostname, port, headers: { host: `${name}.localhost:${port}` }, timeout: CALL_MS_MAX },
      (response) => {
        response.resume().once('end', () => done(response.statusCode ?? 0));
      },
    );
    request.once('timeout', () => request.destroy(new Error('no answer in time')));
    request.once('error', (error) => done(error.message));
  });
}

for (const [index, given] of targets.entries()) {
  const path = resolve(given);
  const isFolder = (await stat(path)).isDirectory();
  // The entry file's project is the folder above its `src`.
  const folder = isFolder ? path : dirname(path).replace(/\/src$/, '');
  const name = `program-${index + 1}`;
  const { ok, said } = await deploy(name, folder, isFolder ? '.' : relative(folder, path));
  const outcome = ok ? { status: await call(name) } : { refused: said.slice(0, 2_000) };
  process.stdout.write(`${JSON.stringify({ program: given, ...outcome })}\n`);
}
