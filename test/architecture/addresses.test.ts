/**
 * Goal: where something listens, and how it is reached, is known in one place. Method: read every source file that runs in
 * production for what opens connections, and for what looks into an address.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { repositoryRoot } from '../support/paths.ts';
import { isTest, sourceFiles } from './imports.ts';

const TRANSPORT = 'shared/runtime/transport.node.ts';
/** What speaks to others than the platform: the origins that functions fetch, the platform's own API from outside. */
const OUTSIDE: ReadonlySet<string> = new Set(['nodes/attachments/egress/dial.ts']);

const LAWS: readonly (readonly [says: string, breaks: RegExp])[] = [
  [
    'only the transport opens connections',
    /import\s*\{(?:[^}]*[,\s])?(?:connect|createConnection)\b[^}]*\}\s*from 'node:net'/,
  ],
  [
    'only the transport names a socket to call',
    /\b(?:request|get|Pool|Agent|Client)\((?:[^()]|\([^()]*\))*\bsocketPath\b/,
  ],
  [
    'only the transport looks into an address',
    /\b(?:\w*[aA]ddress|instance|agent|endpoint|sockets\.\w+(?:\([^)]*\))?)\.path\b/,
  ],
  [
    'only the transport takes an address apart',
    /\{[^}=]*\bpath\b[^}=]*\}\s*(?:=\s*[\w.]*(?:[aA]ddress|endpoint(?:\.\w+)?)\b|:\s*Address\b)/,
  ],
];

function problemsOf(path: string, source: string): string[] {
  if (path === TRANSPORT || OUTSIDE.has(path) || isTest(path)) return [];
  const code = source.replaceAll(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*/g, '');
  return LAWS.filter(([, breaks]) => breaks.test(code)).map(([says]) => `${path}: ${says}`);
}

describe('an address', () => {
  test('is opened and read by the transport alone', async ({ expect }) => {
    const files = (await sourceFiles(repositoryRoot)).filter((file) => !/^(?:scripts|cli)\//.test(file));
    expect(files).toContain(TRANSPORT);
    const problems: string[] = [];
    for (const file of files)
      problems.push(...problemsOf(file, await readFile(join(repositoryRoot, file), 'utf8')));
    expect(problems).toEqual([]);
  });

  test.for([
    ['a connection of its own', `import { connect } from 'node:net';`],
    ['a connection beside a type', `import { connect, type Server } from 'node:net';`],
    ['a request to a socket', `const call = request({ socketPath: at, method: 'GET' });`],
    ['a pool to a socket', `new Pool('http://x', {\n  socketPath: at,\n});`],
    ['a path of an instance', `dial(lease.endpoint.instance.path);`],
    ['a path of a plane', `dial(layout.sockets.control.path);`],
    ['a path of an agent', `dial(layout.sockets.node('n1').path);`],
    ['an address taken apart', `const { path } = lease.endpoint.agent;`],
    ['an address taken apart where it is given', `function dial({ path }: Address): void {}`],
  ] as const)('is not, where %s is planted', ([_what, source], { expect }) => {
    expect(problemsOf('gateway/a.ts', source)).toHaveLength(1);
  });

  test('may be passed on, and be made', ({ expect }) => {
    const source = `
      import type { Socket } from 'node:net';
      import { isIP, type AddressInfo } from 'node:net';
      const { path, query } = call.target;
      send({ address: lease.endpoint.instance, target: path });
      const at = addressAt(join(folder, 'x.sock'));`;
    expect(problemsOf('gateway/a.ts', source)).toEqual([]);
  });
});
