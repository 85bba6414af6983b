/** Goal: the planes stay apart. Method: read every import of every source file, and judge the graph. */
import { describe, test } from 'vitest';
import { repositoryRoot } from '../support/paths.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import {
  borderProblems,
  groundProblems,
  importsOf,
  loneShared,
  PLANES,
  readEdges,
  sourceFiles,
  suffixProblems,
} from './imports.ts';

describe('the borders between planes', () => {
  test('hold in every source file of this repository', async ({ expect }) => {
    const files = await sourceFiles(repositoryRoot);
    for (const plane of [...PLANES, 'shared', 'cli'])
      expect(
        files.filter((file) => file.startsWith(`${plane}/`)).length,
        `no file of ${plane}/ was read`,
      ).toBeGreaterThan(0);
    const edges = await readEdges(repositoryRoot, files);
    expect(edges.filter((edge) => edge.to !== undefined).length, 'no import was read').toBeGreaterThan(100);
    expect(borderProblems(edges)).toEqual([]);
  });

  test('keep what only one plane uses out of shared/', async ({ expect }) => {
    const files = await sourceFiles(repositoryRoot);
    expect(files.length).toBeGreaterThan(0);
    expect(loneShared(await readEdges(repositoryRoot, files), files)).toEqual([]);
  });

  test('say by `.node` in its name what needs Node, where the code also runs without', async ({ expect }) => {
    const files = await sourceFiles(repositoryRoot);
    expect(suffixProblems(await readEdges(repositoryRoot, files))).toEqual([]);
    const judged = (path: string, source: string): number => suffixProblems(importsOf(path, source)).length;
    expect(judged('gateway/a.ts', `import { x } from 'node:fs';`)).toBe(1);
    expect(judged('shared/a.ts', `export * from './b.node.ts';`)).toBe(1);
    for (const path of ['gateway/a.node.ts', 'gateway/a.test.ts', 'control/a.ts'])
      expect(judged(path, `import { x } from 'node:fs'; import './b.node.ts';`)).toBe(0);
  });

  test('keep rows and decisions from knowing what stands above them in their plane', async ({ expect }) => {
    const files = await sourceFiles(repositoryRoot);
    expect(groundProblems(await readEdges(repositoryRoot, files))).toEqual([]);
    const judged = (path: string, source: string): number => groundProblems(importsOf(path, source)).length;
    expect(judged('control/db/a.ts', `import { x } from '../publish/b.ts';`)).toBe(1);
    expect(judged('scheduler/core/a.ts', `import type { X } from '../driver.ts';`)).toBe(1);
    expect(judged('control/db/a.ts', `import './b.ts'; import { x } from '#shared/ids.ts';`)).toBe(0);
    expect(judged('control/publish/a.ts', `import { x } from '../db/b.ts';`)).toBe(0);
  });

  test('are not judged by reading nothing: an empty tree gives zero files', async ({ expect }) => {
    await using folder = await tempFolder();
    expect(await sourceFiles(folder.path)).toEqual([]);
  });

  const planted: readonly (readonly [what: string, path: string, source: string])[] = [
    ['a value import', 'gateway/a.ts', `import { x } from '#control/b.ts';`],
    ['a type import', 'gateway/a.ts', `import type { X } from '#scheduler/b.ts';`],
    ['a type import over lines', 'gateway/a.ts', `import type {\n  X,\n} from '#nodes/b.ts';`],
    ['an import type', 'nodes/a.ts', `let x: import('#control/b.ts').X;`],
    ['a dynamic import', 'nodes/a.ts', `await import("#control/b.ts");`],
    ['a re-export', 'control/deep/a.ts', `export * from '#gateway/b.ts';`],
    ['a bare import', 'control/a.ts', `import '#gateway/b.ts';`],
    ['a relative path into another plane', 'scheduler/deep/a.ts', `import { x } from '../../nodes/b.ts';`],
    ['a relative path into shared', 'scheduler/a.ts', `import { x } from '../shared/ids.ts';`],
    ['a URL of a file of another plane', 'nodes/a.ts', `new URL('../control/main.ts', import.meta.url)`],
    ['shared that knows a plane', 'shared/a.ts', `import { x } from '#gateway/b.ts';`],
    ['a plane that knows the CLI', 'control/a.ts', `import { x } from '#cli/b.ts';`],
    ['test doubles in production code', 'control/a.ts', `import { x } from '#shared/testing/fakes.ts';`],
    ['a fixture in production code', 'control/a.ts', `import { x } from './a.fixture.ts';`],
    ['a path out of the repository', 'cli/a.ts', `import { x } from '../../elsewhere.ts';`],
  ];
  for (const [what, path, source] of planted)
    test(`refuse ${what}`, ({ expect }) => {
      expect(borderProblems(importsOf(path, source))).toHaveLength(1);
    });

  test('allow shared from a plane, a neighbour in the same plane, packages and comments', ({ expect }) => {
    const source = [
      `import { x } from '#shared/ids.ts';`,
      `import { y } from '../neighbour.ts';`,
      `import { z } from 'zod';`,
      `// import { no } from '#control/b.ts';`,
      `/* import { no } from '#control/b.ts'; */`,
    ].join('\n');
    expect(borderProblems(importsOf('gateway/deep/a.ts', source))).toEqual([]);
  });

  test('name a shared file that one plane alone reaches', ({ expect }) => {
    const edges = [
      ...importsOf('gateway/a.ts', `import '#shared/one.ts'; import '#shared/both.ts';`),
      ...importsOf('nodes/a.ts', `import '#shared/both.ts';`),
      ...importsOf('shared/both.ts', `import './inner.ts';`),
    ];
    const files = ['gateway/a.ts', 'nodes/a.ts', 'shared/one.ts', 'shared/both.ts', 'shared/inner.ts'];
    expect(loneShared(edges, files)).toEqual(['shared/one.ts']);
  });
});
