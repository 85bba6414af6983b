/** What a function may try through its bindings: endless calls, forged identities, keys of others. */
import { attack, door, functionNameOf, handler, type Attack } from './attack.ts';

const DEEP = { limits: { timeoutMs: 30_000, cpuMs: 10_000 } };
/** Functions and namespaces that bindings.test.ts makes. */
export const MIRROR = 'mirror';
export const NAMESPACES = ['mine', 'theirs'] as const;

const circle = (name: string, body: string): Attack =>
  handler(
    `bindings: ${name}`,
    // A call that the platform refuses rejects; the innermost tells the code, and all others pass it on.
    `try { ${body.replace('return ', 'return await ')} } catch (error) { return new Response(error.code, { status: 508 }); }`,
    { status: 508, text: /^(call_depth_exceeded|queue_timeout)$/ },
    {
      config: { ...DEEP, services: [{ binding: 'SELF', function: functionNameOf(`bindings: ${name}`) }] },
    },
  );

/** Against a function that tells what it heard, and which must have heard it. */
const viaMirror = (name: string, body: string, must: RegExp): Attack =>
  handler(
    `bindings: ${name}`,
    body,
    { status: 200, text: must },
    { config: { ...DEEP, services: [{ binding: 'MIRROR', function: MIRROR }] } },
  );

const kv = (name: string, attempt: string, held: RegExp): Attack =>
  door(`bindings: ${name}`, attempt, held, {
    config: { ...DEEP, kv: [{ binding: 'KV', namespace: NAMESPACES[0] }] },
  });

export const BINDING_ATTACKS: readonly Attack[] = [
  circle('calling itself in a circle', `return env.SELF.fetch('http://self/');`),
  circle(
    'a circle that forges how deep it is',
    `return env.SELF.fetch('http://self/', { headers: { 'isoplane-depth': '0', 'isoplane-call-depth': '0', 'isoplane-request-id': 'x' } });`,
  ),
  {
    ...attack(
      'bindings: a circle of RPC',
      `import { WorkerEntrypoint } from 'cloudflare:workers';
export default class extends WorkerEntrypoint {
  async fetch() { try { return new Response('ESCAPED ' + (await this.down(0))); } catch (error) { return new Response('held: ' + error.message); } }
  async down(depth) { return depth > 1_000 ? depth : this.env.SELF.down(depth + 1); }
}`,
      { status: 200, text: /^held: / },
      {
        config: {
          ...DEEP,
          services: [{ binding: 'SELF', function: functionNameOf('bindings: a circle of RPC') }],
        },
      },
    ),
  },
  viaMirror(
    'forging who calls',
    `const answer = await env.MIRROR.fetch('http://mirror/', { headers: { 'isoplane-principal': 'root', 'isoplane-claims': 'e30', 'isoplane-outcome': 'x' } }); return new Response(await answer.text());`,
    /^\{"headers":(?!.*(?:root|e30|isoplane-outcome))/s,
  ),
  viaMirror(
    'forging what the runtime reads',
    `const answer = await env.MIRROR.fetch('http://mirror/', { headers: { 'isoplane-cf': '{"clientPid":1}', 'cf-blob': '{"clientPid":1}' } }); return new Response(await answer.text());`,
    /^\{"headers":.*"cf":\{\}/s,
  ),
  viaMirror(
    'opening a raw connection to the other function',
    `try { const socket = env.MIRROR.connect('guess:1'); await socket.opened; return new Response('ESCAPED'); } catch (refusal) { return new Response('held: ' + refusal); }`,
    /^held: /,
  ),
  viaMirror(
    'a method that nobody wrote',
    `try { return new Response('ESCAPED ' + (await env.MIRROR.constructor$private())); } catch (refusal) { return new Response('held: ' + refusal); }`,
    /^held: /,
  ),
  handler(
    'bindings: a function that it is not bound to',
    `return new Response(String(env.MIRROR ?? env.neighbour ?? 'held'));`,
    { status: 200, text: /^held$/ },
  ),
  kv(
    'a key of another namespace',
    `await env.KV.put('../theirs/secret', 'x'); const loot = await env.KV.get('secret'); if (loot === null) throw new Error('not mine'); return loot;`,
    /not mine|A key/,
  ),
  kv('a key that walks up', `return await env.KV.get('..');`, /not allowed as a key/i),
  kv(
    'a key of a kilobyte',
    `return await env.KV.put('k'.repeat(1_024), 'x') ?? 'put';`,
    /key length limit|bytes/i,
  ),
  kv(
    'a value over the bound',
    `return await env.KV.put('big', new Uint8Array(26 * 1_048_576)) ?? 'put';`,
    /limit|bytes|large|413|exceed/i,
  ),
  kv(
    'a list without bound',
    `return (await env.KV.list({ limit: 1e9 })).keys.length;`,
    /limit|1,?000|number|list/i,
  ),
  kv(
    'a query that is SQL',
    `await env.KV.put("a' OR '1'='1", 'x'); const { keys } = await env.KV.list({ prefix: "zz' OR '1'='1" }); if (keys.length === 0) throw new Error('no injection'); return keys;`,
    /no injection/,
  ),
];
