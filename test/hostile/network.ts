/** Ways to the machine and its neighbourhood that a function may try; every one ends at the node's proxy or before it. */
import { door, handler, type Attack } from './attack.ts';

/** Rules that allow every host and port, so that only what is never allowed is refused. */
const OPEN: NonNullable<Attack['config']> = { egress: { allow: ['*:*'] } };
const PATIENCE = { ...OPEN, limits: { timeoutMs: 15_000, cpuMs: 5_000 } };
/** Of the proxy; of workerd, where no proxy listens or the form never leaves it. */
const REFUSED =
  /egress_denied|internal error|network connection lost|proxy request failed|cannot connect|not (?:allowed|permitted|implemented)|disallowed|Invalid URL|Fetch API cannot load|refused|failed|ENOTFOUND|ECONN|EPERM/i;
/** The proxy's own word: it saw the request and its rules refused it. */
const DENIED = /egress_denied/;

/** Forms of loopback and this machine, and of networks that are nobody's business; `P` is the victim's port. */
const HOSTS: readonly string[] = [
  '127.0.0.1',
  '127.1',
  '127.255.255.254',
  '2130706433',
  '0x7f000001',
  '0x7f.1',
  '0177.0.0.1',
  '017700000001',
  '0.0.0.0',
  'localhost',
  'LOCALHOST.',
  'x.localhost',
  '[::1]',
  '[::]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[::127.0.0.1]',
  '[64:ff9b::127.0.0.1]',
  '[2002:7f00:1::]',
  '127。0。0。1',
  '①②⑦.⓪.⓪.①',
  'user@127.0.0.1',
  'example.com@127.0.0.1',
];
const ELSEWHERE: readonly string[] = [
  '169.254.169.254',
  '[fd00:ec2::254]',
  'metadata.google.internal',
  '100.100.100.200',
  '10.0.0.1',
  '172.16.0.1',
  '192.168.0.1',
  '100.64.0.1',
  '[fe80::1]',
  '[fc00::1]',
  '224.0.0.1',
  '255.255.255.255',
];

const fetches = (name: string, url: string, extra = OPEN): Attack =>
  door(
    `network: ${name}`,
    `const answer = await fetch(${url});
    const text = await answer.text();
    if (answer.headers.has('isoplane-egress-error') || answer.status === 403) throw new Error('egress_denied: ' + text);
    return answer.status + ' ' + text;`,
    REFUSED,
    { config: extra },
  );

const FETCHES: readonly Attack[] = [
  ...HOSTS.map((host) => fetches(`fetch of ${host}`, `'http://${host}:' + env.FACTS.victimPort + '/'`)),
  ...ELSEWHERE.map((host) => fetches(`fetch of ${host}`, `'http://${host}/latest/meta-data/'`)),
  fetches('fetch of the control API', `env.FACTS.controlUrl + '/v1/status'`),
  fetches('fetch of the gateway', `env.FACTS.gatewayUrl + '/healthz'`),
  fetches('fetch over https of loopback', `'https://127.0.0.1:' + env.FACTS.victimPort + '/'`),
  fetches(
    'fetch with the Host of somebody else',
    `new Request('http://127.0.0.1:' + env.FACTS.victimPort + '/', { headers: { host: 'example.com' } })`,
  ),
  fetches(
    'fetch of a path that is a proxy request',
    `'http://127.0.0.1:' + env.FACTS.victimPort + '/http://127.0.0.1/'`,
  ),
];

const connects = (name: string, address: string): Attack =>
  door(
    `network: ${name}`,
    `const { connect } = await import('cloudflare:sockets');
    const socket = connect(${address});
    socket.closed.catch(() => undefined);
    await socket.opened;
    const { value } = await socket.readable.getReader().read();
    return 'connected ' + new TextDecoder().decode(value);`,
    REFUSED,
    { config: PATIENCE },
  );

const SOCKETS: readonly Attack[] = [
  ...['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]', '2130706433'].map((host) =>
    connects(`connect() to ${host}`, `'${host}:' + env.FACTS.victimPort`),
  ),
  connects('connect() to the control API', `new URL(env.FACTS.controlUrl).host`),
  connects('connect() to metadata', `'169.254.169.254:80'`),
  door(
    'network: node:net to loopback',
    `const { connect } = await import('node:net');
    return new Promise((resolve, reject) =>
      connect(env.FACTS.victimPort, '127.0.0.1').on('connect', () => resolve('connected')).on('error', reject).on('close', () => reject(new Error('refused by closing'))));`,
    REFUSED,
    { config: PATIENCE },
  ),
  door(
    'network: node:http to loopback',
    `const { get } = await import('node:http');
    return new Promise((resolve, reject) =>
      get('http://127.0.0.1:' + env.FACTS.victimPort + '/', ({ statusCode }) => statusCode === 403 ? reject(new Error('egress_denied')) : resolve(statusCode)).on('error', reject));`,
    REFUSED,
    { config: PATIENCE },
  ),
  door(
    'network: a WebSocket to loopback',
    `const socket = new WebSocket('ws://127.0.0.1:' + env.FACTS.victimPort + '/');
    return new Promise((resolve, reject) => {
      socket.addEventListener('open', () => resolve('open'));
      socket.addEventListener('error', ({ message }) => reject(new Error('refused: ' + message)));
    });`,
    REFUSED,
    { config: PATIENCE },
  ),
  door(
    'network: an upgrade by fetch to loopback',
    `const answer = await fetch('http://127.0.0.1:' + env.FACTS.victimPort + '/', { headers: { upgrade: 'websocket' } });
    if (answer.webSocket === null && answer.status >= 400) throw new Error('egress_denied');
    return answer.status;`,
    REFUSED,
    { config: PATIENCE },
  ),
  door(
    'network: an event source to loopback',
    `const source = new EventSource('http://127.0.0.1:' + env.FACTS.victimPort + '/');
    return new Promise((resolve, reject) => {
      source.addEventListener('open', () => resolve('open'));
      source.addEventListener('error', () => { source.close(); reject(new Error('refused')); });
    });`,
    REFUSED,
    { config: PATIENCE },
  ),
  handler(
    'network: a beacon to loopback',
    `navigator.sendBeacon('http://127.0.0.1:' + env.FACTS.victimPort + '/', 'x'); await scheduler.wait(200); return new Response('fine');`,
    { status: 200, text: /^fine$/ },
    { config: PATIENCE },
  ),
];

const NOWHERE: readonly Attack[] = [
  { name: 'egress none: a public host', egress: 'none' as const },
  { name: 'egress of an event function by default: a public host', egress: undefined },
].map(({ name, egress }) => ({
  name: `network: ${name}`,
  modules: {
    'index.js': `export const handler = async () => { try { return 'ESCAPED ' + (await fetch('http://192.0.2.1/')).status; } catch (refusal) { return 'held: ' + refusal; } };`,
  },
  config: { style: 'event' as const, ...(egress === undefined ? {} : { egress }) },
  call: { method: 'POST', body: '{}' },
  must: { kind: 'answer' as const, answer: { status: 200, text: /^held: / } },
}));

export const NETWORK: readonly Attack[] = [...FETCHES, ...SOCKETS, ...NOWHERE];

/** With the proxy: what it must also refuse. The relay is a server that functions may reach, and that is hostile too. */
const relayed = (name: string, body: string, held: RegExp, heard?: RegExp): Attack =>
  door(`egress: ${name}`, body, held, { config: PATIENCE, ...(heard === undefined ? {} : { heard }) });
const denied = (request: string): string =>
  `const answer = await fetch(${request}); const text = await answer.text(); if (answer.headers.has('isoplane-egress-error')) throw new Error('egress_denied ' + text); return answer.status + ' ' + text;`;
const relay = `'http://127.0.0.1:' + env.FACTS.relayPort`;
const to = (host: string): string => `encodeURIComponent('http://${host}:' + env.FACTS.victimPort + '/')`;

/** A redirect by the relay, which knows the attack by its tag. */
const redirected = (
  name: string,
  tag: string,
  {
    status = 302,
    target,
    init = '',
  }: { readonly status?: number; readonly target: string; readonly init?: string },
): Attack =>
  relayed(
    name,
    denied(`${relay} + '/${status}?by=${tag}&to=' + ${target}${init}`),
    DENIED,
    new RegExp(`^http (?:GET|POST) /${status}\\?by=${tag}&`),
  );

/** What the attacks do, towards a server that they may reach: a way that leads nowhere proves nothing. */
const reaches = (way: string, tag: string, body: string, heard: RegExp): Attack =>
  handler(
    `egress: ${way} reaches what it may, so that the others mean something`,
    body,
    { status: 200, text: new RegExp(`^reached ${tag}$`) },
    { config: PATIENCE, heard },
  );

const CONTROLS: readonly Attack[] = [
  reaches(
    'fetch',
    'fetch',
    `return new Response((await (await fetch(${relay} + '/by-fetch')).text()).replace('relay by-', 'reached '));`,
    /^http GET \/by-fetch$/,
  ),
  reaches(
    'connect()',
    'connect',
    `const { connect } = await import('cloudflare:sockets');
    const socket = connect('127.0.0.1:' + env.FACTS.relayPort);
    const writer = socket.writable.getWriter();
    await writer.write(new TextEncoder().encode('GET /by-connect HTTP/1.1\\r\\nhost: relay\\r\\nconnection: close\\r\\n\\r\\n'));
    const { value } = await socket.readable.getReader().read();
    return new Response(new TextDecoder().decode(value).startsWith('HTTP/1.1 200') ? 'reached connect' : 'odd');`,
    /^http GET \/by-connect$/,
  ),
  reaches(
    'node:net',
    'net',
    `const { connect } = await import('node:net');
    const text = await new Promise((resolve, reject) => {
      const socket = connect(env.FACTS.relayPort, '127.0.0.1', () => socket.write('GET /by-net HTTP/1.1\\r\\nhost: relay\\r\\nconnection: close\\r\\n\\r\\n'));
      socket.on('data', (chunk) => resolve(String(chunk))).on('error', reject);
    });
    return new Response(text.startsWith('HTTP/1.1 200') ? 'reached net' : 'odd');`,
    /^http GET \/by-net$/,
  ),
  reaches(
    'node:http',
    'http',
    `const { get } = await import('node:http');
    const status = await new Promise((resolve, reject) =>
      get(${relay} + '/by-http', ({ statusCode }) => resolve(statusCode)).on('error', reject));
    return new Response(status === 200 ? 'reached http' : 'odd ' + status);`,
    /^http GET \/by-http$/,
  ),
  reaches(
    'a WebSocket',
    'websocket',
    `const socket = new WebSocket('ws://127.0.0.1:' + env.FACTS.relayPort + '/by-websocket');
    await new Promise((resolve, reject) => {
      socket.addEventListener('open', resolve);
      socket.addEventListener('error', ({ message }) => reject(new Error(message)));
    });
    return new Response('reached websocket');`,
    /^upgrade \/by-websocket$/,
  ),
  reaches(
    'an upgrade by fetch',
    'upgrade',
    `const answer = await fetch(${relay} + '/by-upgrade', { headers: { upgrade: 'websocket' } });
    return new Response(answer.webSocket === null ? 'odd ' + answer.status : 'reached upgrade');`,
    /^upgrade \/by-upgrade$/,
  ),
  handler(
    'egress: a beacon asks what it may, so that the others mean something',
    `navigator.sendBeacon(${relay} + '/by-beacon', 'x'); await scheduler.wait(500); return new Response('done');`,
    { status: 200, text: /^done$/ },
    { config: PATIENCE, heard: /^http POST \/by-beacon$/ },
  ),
  handler(
    'egress: an event source asks what it may, so that the others mean something',
    `const source = new EventSource(${relay} + '/by-source');
    await new Promise((resolve) => { source.addEventListener('open', resolve); source.addEventListener('error', resolve); });
    source.close();
    return new Response('done');`,
    { status: 200, text: /^done$/ },
    { config: PATIENCE, heard: /^http GET \/by-source$/ },
  ),
];

export const EGRESS_ATTACKS: readonly Attack[] = [
  ...CONTROLS,
  ...[
    ['127.0.0.1', 'v4'],
    ['[::1]', 'v6'],
    ['localhost', 'name'],
    ['2130706433', 'number'],
  ].map(([host = '', tag = '']) => redirected(`a redirect to ${host}`, tag, { target: to(host) })),
  redirected('a redirect of a POST that keeps its body', 'post', {
    status: 307,
    target: to('127.0.0.1'),
    init: `, { method: 'POST', body: 'x' }`,
  }),
  redirected('a redirect to metadata', 'meta', {
    target: `encodeURIComponent('http://169.254.169.254/')`,
  }),
  redirected('a chain of redirects', 'chain', {
    target: `encodeURIComponent(${relay} + '/302?by=chained&to=' + ${to('127.0.0.1')})`,
  }),
  ...['loop', 'meta', 'mapped', 'private'].map((name) =>
    relayed(
      `a name that resolves to ${name}`,
      denied(`'http://${name}.hostile.test:' + env.FACTS.victimPort + '/'`),
      DENIED,
      new RegExp(`^dns ${name}\\.hostile\\.test$`),
    ),
  ),
  relayed(
    'a header with a line break',
    denied(`${relay} + '/headers', { headers: { 'x-a': 'a\\r\\nx-smuggled: 1' } }`),
    /invalid|TypeError/i,
  ),
  handler(
    'egress: headers of the connection and of the proxy',
    `return new Response(await (await fetch(${relay} + '/headers?by=forger', { headers: { connection: 'x-keep', 'x-keep': '1', 'proxy-authorization': 'Basic x', 'transfer-encoding': 'gzip', te: 'trailers', 'isoplane-principal': 'root', 'isoplane-request-id': 'forged', expect: '100-continue', 'proxy-connection': 'keep-alive' } })).text());`,
    { status: 200, text: /^(?!.*(?:proxy-authorization|isoplane-|proxy-connection|gzip))/is },
    { config: PATIENCE, heard: /^http GET \/headers\?by=forger$/ },
  ),
  handler(
    'egress: more subrequests than its limit',
    `let done = 0; try { for (; done < 1_000_000; done += 1) await (await fetch(${relay} + '/many')).text(); } catch (refusal) { return new Response(done + ' then ' + refusal); } return new Response('ESCAPED');`,
    { status: 200, text: /^50 then .*subrequests_exceeded/s },
    {
      config: { ...OPEN, limits: { subrequests: 50, timeoutMs: 20_000, cpuMs: 10_000 } },
      heard: /^http GET \/many$/,
    },
  ),
  handler(
    'egress: ten thousand sockets',
    `const { connect } = await import('cloudflare:sockets'); let open = 0; const keep = []; const all = (globalThis.all = []); for (let index = 0; index < 10_000; index += 1) { const socket = connect('127.0.0.1:' + env.FACTS.relayPort); socket.closed.catch(() => undefined); all.push(socket); keep.push(socket.opened.then(() => { open += 1; }, () => undefined)); if (index % 100 === 99) await Promise.all(keep.splice(0)); } return new Response('open ' + open);`,
    {
      status: [200, 500],
      code: [undefined, 'cpu_exceeded', 'memory_exceeded', 'function_error'],
      text: /^(?:open (?:[0-9]|[1-5][0-9]|6[0-4])$|\{)/,
    },
    {
      config: { ...OPEN, limits: { connections: 64, subrequests: 20_000, timeoutMs: 30_000, cpuMs: 20_000 } },
    },
  ),
];
