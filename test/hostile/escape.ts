/** Doors out of the process that JavaScript can try: files, processes, sockets, code generation, modules. */
import { connect } from 'node:net';
import { door, handler, type Attack, type Target } from './attack.ts';
import { CODE_ATTACKS } from './code.ts';

const NOT_THERE =
  /ENOENT|no such file|file not found|ENOSYS|not implemented|EPERM|not permitted|EACCES|EINVAL/i;
const NO_MODULE = /no such module|not found|cannot find|failed to resolve|invalid|unsupported/i;
const NO_NETWORK =
  /not (?:allowed|permitted|implemented)|not supported|disallowed|network connection lost|refused|blocked|internal error|invalid|not a function|proxy request failed|EPERM|ENOSYS|ENOTSUP|ECONN|EBADQUERY|missing port|cannot load|nothing (?:happens|real)/i;

/** The runtime pretends to listen for handlers of its own; whether anything does is asked from outside. */
async function listensForReal(target: Target): Promise<string | undefined> {
  const { status, text } = await target.call();
  const port = /^port (\d+)$/.exec(text)?.[1];
  if (status !== 200) return `answered ${status} ${text}`;
  if (port === undefined || port === '0') return undefined;
  return new Promise((resolve) => {
    const socket = connect(Number(port), '127.0.0.1', () => resolve(`listens on port ${port}`));
    socket.on('error', () => resolve(undefined));
  });
}

const FILES: readonly Attack[] = [
  door(
    'files: the owner key of the platform',
    `return (await import('node:fs')).readFileSync(env.FACTS.credentials, 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: the key-encryption key',
    `return (await import('node:fs/promises')).readFile(env.FACTS.kek, 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: the database',
    `return (await import('node:fs')).openSync(env.FACTS.database, 'r');`,
    NOT_THERE,
  ),
  door(
    'files: /etc/passwd',
    `return (await import('node:fs')).readFileSync('/etc/passwd', 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: walking out of the bundle',
    `return (await import('node:fs')).readFileSync('/bundle/../../../../etc/hostname', 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: environment of the process in /proc',
    `return (await import('node:fs')).readFileSync('/proc/self/environ', 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: memory of the process in /proc',
    `return (await import('node:fs')).openSync('/proc/self/mem', 'r+');`,
    NOT_THERE,
  ),
  door(
    'files: memory of the machine in /dev',
    `return (await import('node:fs')).openSync('/dev/mem', 'r');`,
    NOT_THERE,
  ),
  door(
    'files: terminals and shared memory in /dev',
    `
    const fs = await import('node:fs');
    const odd = fs.readdirSync('/dev').filter((name) => !['null', 'zero', 'full', 'random'].includes(name));
    if (odd.length === 0) throw new Error('ENOENT: only the four virtual devices');
    return odd;`,
    NOT_THERE,
  ),
  door(
    'files: the root of the machine',
    `
    const names = (await import('node:fs')).readdirSync('/');
    const real = names.filter((name) => ['etc', 'proc', 'run', 'bin', 'usr', 'home', 'root', 'lib'].includes(name));
    if (real.length === 0) throw new Error('ENOENT: a virtual root');
    return real;`,
    NOT_THERE,
  ),
  door(
    'files: a symbolic link to a real file',
    `
    const fs = await import('node:fs');
    fs.symlinkSync(env.FACTS.credentials, '/tmp/link');
    return fs.readFileSync('/tmp/link', 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: a hard link to a real file',
    `
    const fs = await import('node:fs');
    fs.linkSync(env.FACTS.credentials, '/tmp/hard');
    return fs.readFileSync('/tmp/hard', 'utf8');`,
    NOT_THERE,
  ),
  door(
    'files: its own socket',
    `return (await import('node:fs')).unlinkSync('/run/in/w.sock') ?? 'unlinked';`,
    NOT_THERE,
  ),
  door(
    'files: folders of other slots',
    `return (await import('node:fs')).readdirSync(env.FACTS.runDir);`,
    NOT_THERE,
  ),
  door(
    'files: a folder to write to',
    `
    const fs = await import('node:fs');
    fs.writeFileSync(env.FACTS.runDir + '/planted', 'x');
    return fs.readFileSync(env.FACTS.runDir + '/planted', 'utf8');`,
    NOT_THERE,
  ),
  door('files: fetch of a file URL', `return (await fetch('file:///etc/passwd')).text();`, NO_NETWORK),
];

const PROCESSES: readonly Attack[] = [
  door(
    'processes: a shell',
    `return (await import('node:child_process')).execSync('id').toString();`,
    NOT_THERE,
  ),
  door(
    'processes: spawn',
    `
    const { spawn } = await import('node:child_process');
    return new Promise((resolve, reject) => spawn('/bin/workerd').on('spawn', resolve).on('error', reject));`,
    NOT_THERE,
  ),
  door(
    'processes: fork',
    `return (await import('node:child_process')).fork('/bundle/index.js').pid;`,
    NOT_THERE,
  ),
  door(
    'processes: a worker thread',
    `
    const { Worker } = await import('node:worker_threads');
    return new Worker('for (;;) {}', { eval: true }).threadId;`,
    NOT_THERE,
  ),
  door(
    'processes: a web worker',
    `return String(new Worker('data:text/javascript,for(;;){}'));`,
    /not defined|not a constructor/,
  ),
  door(
    'processes: a cluster',
    `return (await import('node:cluster')).fork().id;`,
    /not implemented|ENOSYS|not a function/i,
  ),
  door(
    'processes: killing pid 1 of its own namespace',
    `return process.kill(1, 'SIGKILL');`,
    /not a function|not implemented|ENOSYS/i,
  ),
  door(
    'processes: killing the node agent',
    `return process.kill(env.FACTS.pids.node, 'SIGKILL');`,
    /not a function|not implemented|ENOSYS/i,
  ),
  door(
    'processes: a native addon',
    `
    const { createRequire } = await import('node:module');
    return createRequire('/bundle/')('/lib/x86_64-linux-gnu/libc.so.6');`,
    NO_MODULE,
  ),
  door(
    'processes: dlopen',
    `return process.dlopen({ exports: {} }, '/lib/x86_64-linux-gnu/libc.so.6') ?? 'loaded';`,
    /not a function|not implemented|ENOSYS|could not/i,
  ),
  door(
    'processes: bindings of the runtime',
    `return Object.keys(process.binding('spawn_sync'));`,
    /not a function|not implemented|no such|ENOSYS/i,
  ),
  door(
    'processes: real environment, arguments and paths',
    `
    const os = await import('node:os');
    const own = Object.keys(process.env).filter((name) => name !== 'FACTS');
    const loot = [own, process.argv.slice(2), process.pid > 1 ? process.pid : 0, os.networkInterfaces(), os.userInfo?.().username]
      .map((value) => JSON.stringify(value))
      .filter((text) => /root|nobody|HOME|PATH|ISOPLANE|socket-addr|127\\.0/.test(text ?? ''));
    if (loot.length === 0) throw new Error('nothing real');
    return loot;`,
    /nothing real|not implemented/,
  ),
  door(
    'processes: a heap snapshot written to disk',
    `return (await import('node:v8')).writeHeapSnapshot('/tmp/x');`,
    /not implemented|not a function|ENOSYS/i,
  ),
  door(
    'processes: flags of V8 while it runs',
    `
    (await import('node:v8')).setFlagsFromString('--allow-natives-syntax');
    return eval('%SystemBreak()');`,
    /not implemented|not a function|ENOSYS|code generation/i,
  ),
  door(
    'processes: the inspector',
    `
    const inspector = await import('node:inspector');
    inspector.open(0, '127.0.0.1');
    const url = inspector.url();
    if (url === undefined) throw new Error('not available: nothing listens');
    return url;`,
    /not implemented|not a function|ENOSYS|not available|unavailable/i,
  ),
];

const SOCKETS: readonly Attack[] = [
  ...['control', 'scheduler', 'node'].map((plane, index) =>
    door(
      `sockets: that of the ${plane}`,
      `
      const { connect } = await import('node:net');
      return new Promise((resolve, reject) =>
        connect({ path: env.FACTS.sockets[${index}] }).on('connect', resolve).on('error', reject));`,
      NO_NETWORK,
    ),
  ),
  door(
    'sockets: a Unix path for connect()',
    `
    const { connect } = await import('cloudflare:sockets');
    const socket = connect('unix:' + env.FACTS.sockets[2]);
    await socket.opened;
    return 'open';`,
    NO_NETWORK,
  ),
  door(
    'sockets: an abstract name',
    `
    const { connect } = await import('node:net');
    return new Promise((resolve, reject) =>
      connect({ path: '\\0isoplane-hostile' }).on('connect', resolve).on('error', reject));`,
    NO_NETWORK,
  ),
  {
    ...handler(
      'sockets: listening',
      `const { createServer } = await import('node:net');
      return new Promise((resolve) => {
        const server = createServer().on('error', (error) => resolve(new Response(String(error))));
        server.listen(0, () => resolve(new Response('port ' + (server.address()?.port ?? 0))));
      });`,
      { status: 200 },
    ),
    must: { kind: 'check', check: listensForReal },
  },
  door(
    'sockets: datagrams',
    `
    const { createSocket } = await import('node:dgram');
    const sent = new Promise((resolve, reject) =>
      createSocket('udp4').on('error', reject).send('x', 9, '127.0.0.1', (error) => error ? reject(error) : resolve('sent')));
    return Promise.race([sent, scheduler.wait(200).then(() => { throw new Error('nothing happens'); })]);`,
    NO_NETWORK,
  ),
  door(
    'sockets: DNS of the machine',
    `
    const { Resolver } = await import('node:dns');
    return new Promise((resolve, reject) =>
      new Resolver().resolve4('example.com', (error, found) => error ? reject(error) : resolve(found)));`,
    NO_NETWORK,
  ),
];

const OTHERS: readonly Attack[] = [
  door(
    'peers: process and user of the gateway in request.cf',
    `
    if (request.cf === undefined || !/pid|uid/i.test(JSON.stringify(request.cf))) throw new Error('nothing of the peer');
    return request.cf;`,
    /nothing of the peer/,
  ),
  door(
    'peers: the cache that others could share',
    `
    await caches.default.put('https://x.example/', new Response('shared', { headers: { 'cache-control': 'max-age=60' } }));
    if ((await caches.default.match('https://x.example/')) === undefined) throw new Error('its own is not kept');
    const other = await (await caches.open('of-others')).match('https://x.example/');
    if (other === undefined) throw new Error('kept to itself');
    return other.text();`,
    /kept to itself/,
  ),
  door(
    'peers: a named cache',
    `
    // Another function has put it into its default cache.
    for (const cache of [caches.default, await caches.open('x'), await caches.open('default')]) {
      const found = await cache.match('https://x.example/');
      if (found !== undefined) return found.text();
    }
    throw new Error('nothing of others');`,
    /nothing of others/,
  ),
  door(
    'peers: bindings that nobody declared',
    `
    const { env: all } = await import('cloudflare:workers');
    const extra = [...Object.keys(all), ...Object.keys(env)].filter((name) => name !== 'FACTS');
    if (extra.length === 0) throw new Error('only its own variables');
    return extra;`,
    /only its own variables/,
  ),
  door(
    'peers: a clock finer than a millisecond',
    `
    const ticks = new Set();
    for (let index = 0; index < 200_000; index += 1) ticks.add(performance.now() % 1);
    const fine = [...ticks].filter((tick) => tick !== 0);
    if (fine.length === 0) throw new Error('whole milliseconds only');
    return fine.slice(0, 3);`,
    /whole milliseconds only/,
  ),
  handler(
    'peers: headers of the platform beyond the request id and deadline',
    `
    const known = ['isoplane-request-id', 'isoplane-deadline-ms', 'isoplane-client-address'];
    return new Response([...request.headers.keys()].filter((name) => name.startsWith('isoplane-') && !known.includes(name)).join());`,
    { status: 200, text: /^$/ },
    {
      call: { headers: { 'isoplane-principal': 'root', 'isoplane-claims': 'e30', 'isoplane-outcome': 'x' } },
    },
  ),
];

export const ESCAPES: readonly Attack[] = [...FILES, ...PROCESSES, ...SOCKETS, ...CODE_ATTACKS, ...OTHERS];
