/** The table of Node's modules against the pinned runtime, at each date where something changes. */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createRequire, builtinModules } from 'node:module';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { LATEST_COMPATIBILITY_DATE } from '#shared/compatibility/flags.ts';
import { NODE_MODULES, nodeModule } from './node-modules.ts';

const WORKERD: string = createRequire(import.meta.url)('workerd').default;
const NAMES = [
  ...new Set([...NODE_MODULES, ...builtinModules.map((name) => name.replace(/^node:/, ''))]),
].sort();

/** What `import()` of each name gives in the pinned runtime: the names that are there. */
async function imported(date: string, flags: readonly string[]): Promise<string[]> {
  await using folder = await tempFolder();
  await writeFile(
    join(folder.path, 'a.js'),
    `const there = [];
for (const name of ${JSON.stringify(NAMES)}) { try { await import('node:' + name); there.push(name); } catch {} }
console.log('THERE ' + JSON.stringify(there));
export default {};`,
  );
  const path = join(folder.path, 'c.capnp');
  await writeFile(
    path,
    `using W = import "/workerd/workerd.capnp";
const c :W.Config = (
  services = [(name = "m", worker = (
    modules = [(name = "a.js", esModule = embed "a.js")],
    compatibilityDate = "${date}",
    compatibilityFlags = ${JSON.stringify(flags)}))],
  sockets = [(name = "h", address = "unix:${folder.path}/s", service = "m")]);`,
  );
  const child = spawn(WORKERD, ['serve', path], { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    return await new Promise<string[]>((resolve, reject) => {
      let said = '';
      const read = (chunk: Buffer): void => {
        said += chunk.toString('utf8');
        const line = /^THERE (.*)$/m.exec(said)?.[1];
        if (line !== undefined) resolve(JSON.parse(line) as string[]);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', () => reject(new Error(said)));
    });
  } finally {
    child.kill('SIGKILL');
  }
}

describe('nodeModule()', () => {
  test.for([
    ['2024-01-01', ''],
    ['2024-01-01', 'nodejs_als'],
    ['2024-01-01', 'nodejs_compat'],
    ['2024-09-23', 'nodejs_compat'],
    ['2025-08-14', 'nodejs_compat'],
    ['2025-08-15', 'nodejs_compat'],
    ['2025-09-01', 'nodejs_compat'],
    ['2025-09-15', 'nodejs_compat'],
    ['2025-09-15', 'nodejs_compat,disable_nodejs_fs_module'],
    ['2025-10-01', 'nodejs_compat'],
    ['2025-12-04', 'nodejs_compat'],
    ['2026-01-29', 'nodejs_compat'],
    ['2026-03-16', 'nodejs_compat'],
    ['2026-03-17', 'nodejs_compat'],
    ['2026-08-03', ''],
    ['2026-08-03', 'nodejs_compat_v2'],
    ['2026-08-04', ''],
    ['2026-08-04', 'no_nodejs_compat,no_nodejs_compat_v2'],
    [LATEST_COMPATIBILITY_DATE, ''],
  ] as const)('answers as the runtime does at %s with flags "%s"', async ([date, named], { expect }) => {
    const flags = named === '' ? [] : named.split(',');
    const there = NAMES.filter((name) => nodeModule(name, date, flags).kind === 'there');
    expect(there).toEqual(await imported(date, flags));
  });

  test('every flag that it names brings its module', async ({ expect }) => {
    const date = '2024-01-01';
    const flags = new Set(['nodejs_compat']);
    for (const name of NODE_MODULES) {
      const answer = nodeModule(name, date, ['nodejs_compat']);
      if (answer.kind === 'behind') flags.add(answer.flag);
    }
    expect(await imported(date, [...flags])).toEqual(NODE_MODULES);
    expect(nodeModule('sea', date, [...flags])).toEqual({ kind: 'unknown' });
  });
});
