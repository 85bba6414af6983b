/** The control API takes requests from anybody: what two readers could understand differently is refused. */
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import { memoryLog } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { startControl } from './plane.ts';

let folder: TempFolder;
let control: RunningPlane;
let host = '';

beforeAll(async () => {
  folder = await tempFolder();
  control = await startControl({
    layout: layoutOf(join(folder.path, 'data')),
    host: '127.0.0.1',
    port: 0,
    names: [],
    nodeIds: [],
    baseDomain: 'localhost',
    log: memoryLog(),
    startedMs: 0,
  });
  ({ host } = new URL(control.addresses['api'] ?? ''));
});
afterAll(async () => {
  await control.close(0);
  await folder[Symbol.asyncDispose]();
});

/** Everything that comes until the server closes; `ends`: the client ends its side first. */
function exchange(text: string, ends = false): Promise<string> {
  return new Promise((resolve, reject) => {
    const [name = '', port] = host.split(':');
    let received = '';
    const socket = connect(Number(port), name, () => (ends ? socket.end(text) : socket.write(text)));
    socket.on('data', (chunk) => (received += chunk.toString('latin1')));
    socket.on('close', () => resolve(received));
    socket.on('error', (error) => (received === '' ? reject(error) : undefined));
  });
}

describe('the control API', () => {
  test.for([
    ['two hosts', 'GET /healthz HTTP/1.1', ['Host: HOST', 'Host: HOST'], 400, 'header_invalid'],
    ['no host', 'GET /healthz HTTP/1.1', [], 400, 'header_invalid'],
    [
      'two authorizations',
      'GET /v1/x HTTP/1.1',
      ['Host: HOST', 'Authorization: a', 'Authorization: b'],
      400,
      'header_invalid',
    ],
    [
      'chunked in HTTP/1.0',
      'POST /v1/x HTTP/1.0',
      ['Host: HOST', 'Transfer-Encoding: chunked'],
      400,
      'header_invalid',
    ],
    [
      'both lengths',
      'POST /v1/x HTTP/1.1',
      ['Host: HOST', 'Content-Length: 1', 'Transfer-Encoding: chunked'],
      400,
      'header_invalid',
    ],
    [
      'an unknown coding',
      'POST /v1/x HTTP/1.1',
      ['Host: HOST', 'Transfer-Encoding: gzip, chunked'],
      501,
      'not_implemented',
    ],
    ['an unknown method', 'BREW /healthz HTTP/1.1', ['Host: HOST'], 501, 'not_implemented'],
    ['HTTP/2 in the request line', 'GET /healthz HTTP/2.0', ['Host: HOST'], 505, 'version_not_supported'],
    ['a fragment', 'GET /healthz#x HTTP/1.1', ['Host: HOST'], 400, 'target_invalid'],
  ] as const)('refuses %s and closes the connection', async ([, line, lines, status, code], { expect }) => {
    const head = [line, ...lines].join('\r\n').replaceAll('HOST', host);
    // What stands behind the refused head is not read as another request: exchange() ends by the close.
    const answer = await exchange(`${head}\r\n\r\nGET /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual([`HTTP/1.1 ${status}`]);
    expect(answer).toContain(`"code":"${code}"`);
  });

  test('answers a client that ends its side after the request', async ({ expect }) => {
    expect(await exchange(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`, true)).toMatch(
      /^HTTP\/1\.1 200 /,
    );
  });
});
