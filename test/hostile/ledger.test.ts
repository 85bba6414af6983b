/**
 * Goal: no kind of attack that the platform must survive is forgotten or loses its attack. Method: each item
 * names an attack, which must be in a table.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { repositoryRoot } from '../support/paths.ts';
import type { Attack } from './attack.ts';
import { BINDING_ATTACKS } from './bindings.ts';
import { CALLERS } from './callers.ts';
import { ESCAPES } from './escape.ts';
import { LIMIT_ATTACKS } from './limits.ts';
import { MISBEHAVIOURS } from './misbehaviour.ts';
import { NATIVE } from './native.ts';
import { EGRESS_ATTACKS, NETWORK } from './network.ts';

const TABLES: readonly string[] = [
  'ESCAPES',
  'LIMIT_ATTACKS',
  'MISBEHAVIOURS',
  'NETWORK',
  'EGRESS_ATTACKS',
  'BINDING_ATTACKS',
  'NATIVE',
  'CALLERS',
];

const FUNCTIONS: readonly Attack[] = [
  ...ESCAPES,
  ...LIMIT_ATTACKS,
  ...MISBEHAVIOURS,
  ...NETWORK,
  ...EGRESS_ATTACKS,
  ...BINDING_ATTACKS,
];
const NAMES: readonly string[] = [...FUNCTIONS, ...NATIVE, ...CALLERS].map(({ name }) => name);
const ATTACKS_MIN = 60;

const COVERED: readonly (readonly [item: string, attack: string])[] = [
  ['loops at top level', 'cpu: a loop at top level'],
  ['loops in a getter', 'cpu: a loop in a getter'],
  ['loops in a regular expression', 'cpu: a regular expression'],
  ['loops in a microtask', 'cpu: microtasks'],
  ['loops in wasm', 'cpu: a loop in wasm'],
  ['JSON.parse of a huge string', 'memory: JSON.parse of a huge string'],
  ['hogs the heap', 'memory: the heap'],
  ['hogs ArrayBuffers', 'memory: ArrayBuffers'],
  ['hogs wasm memory', 'memory: pages of wasm'],
  ['hogs strings', 'memory: strings'],
  ['opens 10,000 sockets', 'egress: ten thousand sockets'],
  ['writes 1 GB of logs', 'bytes: a gigabyte of log'],
  ['never reads its body', 'time: never reading its body'],
  ['answers without reading its body', 'time: answering without reading its body'],
  ['never ends its response', 'time: a response that never ends and says nothing'],
  ['sends without end', 'bytes: a response without end'],
  ['answers after the deadline', 'time: answering after the deadline'],
  ['throws non-errors', 'throws a symbol'],
  ['throws from timers', 'throws from a timer'],
  ['answers what is slow to read', 'sets a cookie whose domain is 90,000 spaces long'],
  ['throws after the response', 'throws after the answer'],
  ['returns non-Response', 'returns an object like a response'],
  ['poisons prototypes', 'poisons Object.prototype'],
  ['catches everything', 'cpu: a loop that catches everything'],
  ['spawns a million timers', 'memory: a million timers'],
  ['sends a million subrequests', 'egress: more subrequests than its limit'],
  ['resolves names to private addresses', 'egress: a name that resolves to meta'],
  ['uses redirects to private addresses', 'egress: a redirect to 127.0.0.1'],
  ['smuggles headers to egress', 'egress: a header with a line break'],
  ['forges internal headers to egress', 'egress: headers of the connection and of the proxy'],
  ['forges internal headers in its answer', 'forges headers of the platform and of the connection'],
  ['forges internal headers as a caller', 'forges who calls'],
  ['calls itself in a circle', 'bindings: calling itself in a circle'],
  ['the file system', 'files: the owner key of the platform'],
  ["other instances' sockets", 'native: the socket of a neighbour'],
  ["the agent's sockets", 'native: the socket of the node'],
  ["other slots' folders", 'native: the folder of another slot'],
  ['signals', 'native: a signal to the agent'],
  ['abstract sockets', 'native: an abstract socket of the machine'],
  ['/proc', 'native: /proc'],
  ['metadata addresses', 'network: fetch of 169.254.169.254'],
  ['DNS tricks', 'egress: a name that resolves to mapped'],
  ['code generation', 'code: eval'],
  ['unsafe modules', 'modules: import of workerd:unsafe'],
  ['processes', 'processes: a shell'],
  ['worker threads', 'processes: a worker thread'],
  ['blocking the thread', 'code: blocking the thread'],
  ['caches', 'peers: the cache that others could share'],
  ['request.cf', 'peers: process and user of the gateway in request.cf'],
];

/** Proved where the part is, because a platform cannot be made to do it from outside. */
const ELSEWHERE: readonly (readonly [item: string, file: string])[] = [
  ['a name that resolves to another address when it is dialled', 'nodes/attachments/egress/egress.test.ts'],
  ['ambiguous framing, signatures, tokens', 'test/e2e/bad-requests.test.ts'],
  ['uploads', 'test/e2e/bad-uploads.test.ts'],
  ['permissions between accounts', 'control/api/access.test.ts'],
];

const OWN_NAME = 'ledger.test.ts';
/** Whatever lets a file pass without its attacks: also a look at what the repository has built so far. */
const SKIPS = /\b(?:skip|skipIf|runIf|todo|fails|only)\b\s*\(|\bexistsSync\b/;

describe('the hostile suite', () => {
  test(`has ${NAMES.length} distinct attacks`, ({ expect }) => {
    expect(NAMES.length).toBeGreaterThanOrEqual(ATTACKS_MIN);
    expect(NAMES.filter((name, index) => NAMES.indexOf(name) !== index)).toEqual([]);
    const sources = FUNCTIONS.map(({ modules, config, call }) =>
      JSON.stringify([Object.entries(modules), config, call]),
    );
    expect(
      FUNCTIONS.filter((_, index) => sources.indexOf(sources[index] ?? '') !== index).map(({ name }) => name),
    ).toEqual([]);
  });

  for (const [item, attack] of COVERED)
    test(`has an attack for: ${item}`, ({ expect }) => {
      expect(NAMES).toContain(attack);
    });

  for (const [item, file] of ELSEWHERE)
    test(`knows where this is proved: ${item}`, async ({ expect }) => {
      const source = await readFile(join(repositoryRoot, file), 'utf8');
      expect(source).toMatch(/\btest(?:\.each\b.*)?\(/);
      expect(source).not.toMatch(SKIPS);
    });

  test('runs each of its tables, and skips nothing', async ({ expect }) => {
    const folder = import.meta.dirname;
    const names = (await readdir(folder)).filter((name) => name.endsWith('.ts') && name !== OWN_NAME);
    const sources = await Promise.all(
      names.map(async (name) => ({ name, source: await readFile(join(folder, name), 'utf8') })),
    );
    const tests = sources.filter(({ name }) => name.endsWith('.test.ts'));
    // Imported and used: an attack in a table that no test runs proves nothing.
    const runs = (table: string): boolean =>
      tests.some(({ source }) => (source.match(new RegExp(`\\b${table}\\b`, 'g')) ?? []).length > 1);
    expect(TABLES.filter((table) => !runs(table))).toEqual([]);
    expect(sources.filter(({ source }) => SKIPS.test(source)).map(({ name }) => name)).toEqual([]);
  });
});
