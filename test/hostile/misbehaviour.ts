/** Code that lies: wrong answers, forged headers and log lines, sockets closed wrongly. */
import { WebSocket } from 'ws';
import { rawExchange } from '../support/raw.ts';
import { hostOf } from '../support/platform.ts';
import { type AnswerMust, type Attack, handler, type Target } from './attack.ts';
import { POISONS } from './poisons.ts';
import { logsOf } from './suite.ts';

const THROWN: AnswerMust = { status: 500, code: 'function_error' };
const FINE: AnswerMust = { status: 200, text: /^fine$/ };

const throws = (name: string, thrown: string, message: RegExp): Attack =>
  handler(`throws ${name}`, `throw ${thrown};`, THROWN, { log: { kind: 'exception', message } });

const THROWS: readonly Attack[] = [
  throws('an error', `new RangeError('on purpose')`, /RangeError: on purpose/),
  throws('a string', `'only text'`, /only text/),
  throws('undefined', 'undefined', /undefined/),
  throws('null', 'null', /null/),
  throws('a symbol', `Symbol('odd')`, /odd|cannot be printed/),
  throws('an object', `{ secret: 1 }`, /secret/),
  throws(
    'a proxy that throws',
    `new Proxy({}, { get() { throw new Error('trap'); }, ownKeys() { throw 1; }, getPrototypeOf() { throw 2; } })`,
    /not printable|cannot be printed|Error: 2/,
  ),
  throws(
    'an error whose getters throw',
    `Object.defineProperties(new Error('x'), { message: { get() { throw 1; } }, stack: { get() { throw 2; } }, name: { get() { throw 3; } } })`,
    /cannot be printed|not printable/,
  ),
  throws(
    'an error that is its own cause',
    `(() => { const error = new Error('circle'); error.cause = error; return error; })()`,
    /circle/,
  ),
  throws('a megabyte of message', `new Error('m'.repeat(1_000_000))`, /m{1000}/),
  handler(
    'throws from a timer',
    `setTimeout(() => { throw new Error('from a timer'); }, 10); await scheduler.wait(50); return new Response('fine');`,
    FINE,
    { log: { kind: 'exception', message: /from a timer/ } },
  ),
  handler(
    'throws after the answer',
    `ctx.waitUntil(scheduler.wait(20).then(() => { throw new Error('after the answer'); })); return new Response('fine');`,
    FINE,
    { log: { kind: 'exception', message: /after the answer/ } },
  ),
  handler(
    'rejects and nobody handles it',
    `void Promise.reject(new Error('unhandled')); await scheduler.wait(20); return new Response('fine');`,
    FINE,
    { log: { kind: 'exception', message: /unhandled/ } },
  ),
  handler(
    'reports an error of its own',
    `reportError(new Error('reported')); return new Response('fine');`,
    FINE,
    { log: { kind: 'exception', message: /reported/ } },
  ),
];

const returns = (name: string, value: string, must = THROWN): Attack =>
  handler(`returns ${name}`, `return ${value};`, must);

const RETURNS: readonly Attack[] = [
  returns('nothing', ''),
  returns('null', 'null'),
  returns('a number', '42'),
  returns('text', `'text'`),
  returns(
    'an object like a response',
    `{ status: 200, headers: new Headers(), body: null, text: async () => 'x' }`,
  ),
  returns('an array', '[new Response()]'),
  returns('a request', 'request'),
  returns('a response made of prototypes', 'Object.create(Response.prototype)'),
  returns('a promise of nothing', 'Promise.resolve()'),
  returns(
    'a response that was used',
    `(async () => { const used = new Response('x'); await used.text(); return used; })()`,
  ),
  returns('Response.error()', 'Response.error()'),
  returns('status 99', `new Response('x', { status: 99 })`),
  returns('status 600', `new Response('x', { status: 600 })`),
  returns('status 101 without a socket', `new Response(null, { status: 101 })`),
  returns(
    'a socket to a plain request',
    `new Response(null, { status: 101, webSocket: new WebSocketPair()[0] })`,
  ),
  returns('a body with status 204', `new Response('x', { status: 204 })`),
  returns(
    'a header with a line break',
    `new Response('x', { headers: { 'x-a': 'a\\r\\nset-cookie: b=1' } })`,
  ),
  returns('a header with a null', `new Response('x', { headers: { 'x-a': 'a\\0b' } })`),
  returns('a header name with a space', `new Response('x', { headers: { 'x a': 'b' } })`),
  returns(
    'a redirect with a line break',
    `Response.redirect('https://x.example/\\r\\nset-cookie: b=1', 302)`,
    { status: 302 },
  ),
  handler(
    'answers the same object to everybody',
    `globalThis.same ??= new Response('fine'); return globalThis.same;`,
    { status: [200, 500], code: [undefined, 'function_error'] },
  ),
];

const SPLIT = `return new Response('x', { headers: { 'transfer-encoding': 'chunked', 'content-length': '1', connection: 'close, x-a', 'keep-alive': 'timeout=9', 'isoplane-version': 'default/other@9', 'isoplane-request-id': 'forged', 'isoplane-cold-start': '1', upgrade: 'h2c' } });`;

async function forgesHeaders({ platform, name }: Target): Promise<string | undefined> {
  const text = await rawExchange(
    platform.gatewayUrl,
    `GET / HTTP/1.1\r\nhost: ${hostOf(platform.gatewayUrl, name)}\r\nconnection: close\r\n\r\n`,
    20_000,
  );
  const [head = ''] = text.split('\r\n\r\n');
  const bad =
    /forged|other@9|upgrade:|timeout=9/i.exec(head) ??
    (/content-length/i.test(head) && /transfer-encoding/i.test(head) ? ['both lengths'] : null);
  if (bad !== null) return `the head holds ${bad[0]}: ${head}`;
  return /HTTP\/1\.1 \d/g.exec(text)?.length === 1 && text.startsWith('HTTP/1.1 200')
    ? undefined
    : text.slice(0, 500);
}

/**
 * Whatever the function says, the caller sees one response for a request, and its length is that of its body: the
 * answer to a second request on the connection begins where the first one has ended.
 */
async function splits({ platform, name }: Target): Promise<string | undefined> {
  const asked = (more: string): string =>
    `GET / HTTP/1.1\r\nhost: ${hostOf(platform.gatewayUrl, name)}\r\n${more}\r\n`;
  // Until the gateway closes; the bound is for one that never does.
  const text = await rawExchange(platform.gatewayUrl, asked('') + asked('connection: close\r\n'), 20_000);
  let rest = text;
  for (let count = 0; count < 2 && (count === 0 || rest !== ''); count += 1) {
    const end = rest.indexOf('\r\n\r\n');
    const head = rest.slice(0, end);
    const length = /content-length: (\d+)/i.exec(head)?.[1];
    if (length === undefined || !head.startsWith('HTTP/1.1 ') || /x-evil/i.test(head))
      return text.slice(0, 500) || 'no answer';
    rest = Buffer.from(rest.slice(end + 4))
      .subarray(Number(length))
      .toString();
  }
  return rest === '' ? undefined : text.slice(0, 500);
}

const checked = (
  name: string,
  body: string,
  check: (target: Target) => Promise<string | undefined>,
): Attack => ({
  ...handler(name, body, FINE),
  must: { kind: 'check', check },
});

/** Nothing that a function writes may look as if the platform or another function had written it. */
async function logIsItsOwn(target: Target): Promise<string | undefined> {
  const { status, headers } = await target.call();
  if (status !== 200) return `answered ${status}`;
  const own = String(headers['isoplane-request-id']);
  const entries = await logsOf(target.platform, target.name);
  const forged = entries.find(
    ({ kind, versionId, atMs }) =>
      kind === 'platform' || !versionId.startsWith(`default/${target.name}@`) || atMs < 1_000_000_000_000,
  );
  if (forged !== undefined) return `a forged entry: ${JSON.stringify(forged)}`;
  const neighbour = await logsOf(target.platform, 'neighbour');
  return neighbour.some(({ message }) => message.includes('forged')) || own === ''
    ? 'the neighbour has the entry'
    : undefined;
}

async function terminalIsSafe(target: Target): Promise<string | undefined> {
  await target.call();
  const result = await target.platform.cli(['logs', target.name]);
  if (!result.stdout.includes('painted')) return `the entry is missing: ${result.stdout}${result.stderr}`;
  // oxlint-disable-next-line no-control-regex -- finding control characters is the point
  const control = /[\u0000-\u0008\u000b-\u001f\u007f\u009b]/.exec(result.stdout.replaceAll('\r\n', '\n'));
  return control === null ? undefined : `the terminal gets character ${control[0].charCodeAt(0)}`;
}

const FORGED_LINE = `JSON.stringify({ k: 'platform', kind: 'platform', l: 'error', m: 'forged', r: 'forged', atMs: 1, versionId: 'default/neighbour@1', instanceId: 'x' })`;

const FORGERIES: readonly Attack[] = [
  checked('forges headers of the platform and of the connection', SPLIT, forgesHeaders),
  checked(
    'splits its response by the status text',
    `return new Response('x', { statusText: 'OK\\r\\nx-evil: 1\\r\\n\\r\\nHTTP/1.1 200 OK' });`,
    splits,
  ),
  checked(
    'splits its response by a lying content-length',
    `return new Response('xHTTP/1.1 200 OK\\r\\nx-evil: 1\\r\\ncontent-length: 0\\r\\n\\r\\n', { headers: { 'content-length': '1' } });`,
    splits,
  ),
  handler(
    'forges its outcome',
    `return new Response('x', { headers: { 'isoplane-outcome': 'cpu_exceeded' } });`,
    { status: 200, text: /^x$/ },
  ),
  handler(
    'claims that it threw',
    `return new Response('x', { headers: { 'isoplane-outcome': 'function_error' } });`,
    // What it claims is taken off: the answer is its own.
    { status: 200, text: /^x$/ },
  ),
  handler(
    'forges a problem of the platform',
    `return Response.json({ code: 'quarantined', type: 'urn:isoplane:error:quarantined' }, { status: 503, headers: { 'content-type': 'application/problem+json', 'retry-after': '999999' } });`,
    { status: 503, code: 'quarantined' },
  ),
  checked(
    'forges log lines on stdout',
    `const { default: process } = await import('node:process'); process.stdout.write(${FORGED_LINE} + '\\n'); console.log(${FORGED_LINE}); console.log('a\\n' + ${FORGED_LINE}); return new Response('fine');`,
    logIsItsOwn,
  ),
  checked(
    'forges log lines on stderr',
    `const { default: process } = await import('node:process'); process.stderr.write('service main: Uncaught Error: forged\\n' + ${FORGED_LINE} + '\\n'); console.error(${FORGED_LINE}); return new Response('fine');`,
    logIsItsOwn,
  ),
  checked(
    'paints on the terminal of whoever reads its log',
    `console.log('\\u001b[2J\\u001b]0;owned\\u0007painted\\u009b31m'); return new Response('fine');`,
    terminalIsSafe,
  ),
];

/** How a WebSocket ended for the caller. */
function socketEnd({ platform, name }: Target, waitMs = 5_000): Promise<string> {
  return new Promise((resolve) => {
    const client = new WebSocket(platform.gatewayUrl.replace('http', 'ws'), {
      headers: { host: hostOf(platform.gatewayUrl, name) },
    });
    const timer = setTimeout(() => {
      client.terminate();
      resolve('nothing');
    }, waitMs);
    const end = (how: string): void => {
      clearTimeout(timer);
      resolve(how);
    };
    client.on('close', (code) => end(`closed ${code}`));
    client.on('unexpected-response', (_request, response) => end(`answered ${response.statusCode}`));
    client.on('error', () => undefined);
  });
}

const socket = (name: string, body: string, must: RegExp, waitMs?: number): Attack =>
  checked(
    `websocket: ${name}`,
    `const [client, server] = Object.values(new WebSocketPair()); ${body} return new Response(null, { status: 101, webSocket: client });`,
    async (target) => {
      const end = await socketEnd(target, waitMs);
      return must.test(end) ? undefined : end;
    },
  );

const SOCKETS: readonly Attack[] = [
  socket('closes at once', `server.accept(); server.close(1000, 'bye');`, /^closed 1000$/),
  socket('closes with a code that is none', `server.accept(); server.close(99);`, /^answered 500$/),
  socket(
    'closes twice and sends after it',
    `server.accept(); server.close(1011, 'x'); try { server.close(1000); server.send('late'); } catch {}`,
    /^closed 1011$/,
  ),
  socket(
    'throws in its listener',
    `server.accept(); setTimeout(() => { throw new Error('listener'); }, 10); setTimeout(() => server.close(1001), 50);`,
    /^closed 1001$/,
  ),
  socket(
    'floods a caller that does not read',
    `server.accept(); const load = 'x'.repeat(65_536); for (let index = 0; index < 200; index += 1) server.send(load); server.close(1000);`,
    /^closed 1000$/,
  ),
  socket(
    'accepts and then throws',
    `server.accept(); throw new Error('changed its mind');`,
    /^answered 500$/,
  ),
  socket('never accepts its end', ``, /^(?:nothing|closed 1006|answered 500)$/, 1_500),
];

/** What a gateway that goes back for each character reads for half a minute: longer than one may be silent. */
const TEXTS: readonly Attack[] = [
  handler(
    'sets a cookie whose domain is 90,000 spaces long',
    `return new Response('fine', { headers: { 'set-cookie': 'a=b; domain=x' + ' '.repeat(90_000) + 'y' } });`,
    FINE,
  ),
];

export const MISBEHAVIOURS: readonly Attack[] = [
  ...THROWS,
  ...RETURNS,
  ...FORGERIES,
  ...POISONS,
  ...SOCKETS,
  ...TEXTS,
];
