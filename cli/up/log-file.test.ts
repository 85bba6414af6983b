/** The log of a plane stays within its bound on disk. */
import { readFile, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { LineSplitter, LogFile } from './log-file.ts';

describe('LogFile', () => {
  test('rotates at the bound and keeps exactly one older file', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'plane.log');
    const log = new LogFile(path, 30);
    for (const line of ['a'.repeat(14), 'b'.repeat(14), 'c'.repeat(14), 'd'.repeat(14), 'e'.repeat(14)])
      log.write(line);
    log.close();
    expect(await readFile(path, 'utf8')).toBe(`${'e'.repeat(14)}\n`);
    expect(await readFile(`${path}.1`, 'utf8')).toBe(`${'c'.repeat(14)}\n${'d'.repeat(14)}\n`);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('cuts a line that alone would fill the file', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'plane.log');
    const log = new LogFile(path);
    log.write('x'.repeat(200_000));
    log.close();
    expect((await stat(path)).size).toBeLessThan(70_000);
  });
});

describe('LogFile on a full disk', () => {
  test('loses lines, counts them, and says so with the first one that there is room for', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'plane.log');
    // Every write to it fails with ENOSPC.
    await symlink('/dev/full', path);
    const log = new LogFile(path);
    log.write('one');
    log.write('two');
    expect(log.lost).toBe(2);
    log.close();
    await rm(path);
    log.write('three');
    log.close();
    expect(log.lost).toBe(0);
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines).toEqual([expect.stringContaining('"count":2'), 'three']);
  });
});

describe('LineSplitter', () => {
  test('joins what arrives in pieces, also inside a character, and flushes an endless line', ({ expect }) => {
    const lines: string[] = [];
    const splitter = new LineSplitter((line) => lines.push(line));
    const bytes = new TextEncoder().encode('grüß\nnext');
    splitter.push(bytes.slice(0, 3));
    splitter.push(bytes.slice(3));
    splitter.flush();
    splitter.push(new TextEncoder().encode('y'.repeat(100_000)));
    expect(lines.map((line) => line.length)).toEqual([4, 4, 100_000]);
    expect(lines.slice(0, 2)).toEqual(['grüß', 'next']);
  });
});
