/** The committed flag table against the pinned runtime, and the rules around it. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import {
  COMPATIBILITY_FLAGS,
  compatibilityProblems,
  LATEST_COMPATIBILITY_DATE,
  latestDateOf,
} from './flags.ts';

const WORKERD: string = createRequire(import.meta.url)('workerd').default;

/** What workerd says about a configuration that it refuses: one line per problem. */
async function complaints(date: string, flags: readonly string[]): Promise<string> {
  await using folder = await tempFolder();
  const path = join(folder.path, 'c.capnp');
  await writeFile(
    path,
    `using W = import "/workerd/workerd.capnp";
const c :W.Config = (
  services = [(name = "m", worker = (
    modules = [(name = "a.js", esModule = "export default {}")],
    compatibilityDate = "${date}",
    compatibilityFlags = [${flags.map((flag) => `"${flag}"`).join(', ')}]))],
  sockets = [(name = "h", address = "unix:${folder.path}/s", service = "m")]);`,
  );
  return await new Promise((resolve) => {
    execFile(WORKERD, ['serve', path], { timeout: 20_000 }, (_error, _stdout, stderr) => resolve(stderr));
  });
}

describe('compatibility', () => {
  test('the pinned runtime knows every flag of the table as stable, with the same default date', async ({
    expect,
  }) => {
    // Contradicting pairs are in the list, so workerd refuses it and ends by itself.
    const text = await complaints(LATEST_COMPATIBILITY_DATE, [...COMPATIBILITY_FLAGS.keys()]);
    expect(text).not.toContain('No such compatibility flag');
    expect(text).not.toContain('is experimental');
    const defaults = [...text.matchAll(/flag (\S+) became the default as of (\S+) so/g)].map((match) => [
      match[1],
      match[2],
    ]);
    const always = 'r2_public_beta_bindings';
    const expected = [...COMPATIBILITY_FLAGS]
      .filter(([flag, row]) => row.defaultSince !== undefined && flag !== always)
      .map(([flag, row]) => [flag, row.defaultSince]);
    expect(new Map(defaults as [string, string][])).toEqual(new Map(expected as [string, string][]));
    expect(COMPATIBILITY_FLAGS.size).toBeGreaterThan(200);
  });

  test('nodejs_compat is named before it became the default, and not after', ({ expect }) => {
    const problems = (date: string) => compatibilityProblems(date, ['nodejs_compat'], '2026-11-17');
    expect(problems('2026-08-03')).toEqual([]);
    expect(problems('2026-08-04')[0]?.message).toContain('on by default since 2026-08-04');
  });

  test('the latest date is the one in the version of workerd, inclusive', ({ expect }) => {
    expect(latestDateOf('1.20261117.1')).toBe('2026-11-17');
    expect(compatibilityProblems('2026-11-17', [], '2026-11-17')).toEqual([]);
    expect(compatibilityProblems('2026-11-18', [], '2026-11-17').length).toBe(1);
    expect(() => latestDateOf('2.0.0')).toThrow(/cannot read a date/);
  });

  test('all problems are told at once', ({ expect }) => {
    const flags = ['nope', 'python_workers', 'url_original', 'url_original', 'experimental'];
    expect(compatibilityProblems('2026-13-01', flags, '2026-11-17').map((problem) => problem.path)).toEqual([
      'config.compatibilityDate',
      'config.compatibilityFlags.0',
      'config.compatibilityFlags.1',
      'config.compatibilityFlags.3',
      'config.compatibilityFlags.4',
    ]);
  });

  test('contradicting flags are refused', ({ expect }) => {
    const both = compatibilityProblems('2020-01-01', ['url_standard', 'url_original'], '2026-11-17');
    expect(both.map((problem) => problem.message)).toEqual([
      'url_standard contradicts url_original',
      'url_original contradicts url_standard',
    ]);
  });
});
