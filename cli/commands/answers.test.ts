/** What the command makes of answers: the platform's own, the function's, and values of KV. */
import { describe, test } from 'vitest';
import { fakeControl, type Answer, type SeenCall } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';
import { onTerminal } from '../testing/terminal.ts';

const NOW = '2026-11-23T00:00:00.000Z';

describe('nothing at all', () => {
  test('is said where a value is read from stdin, before the platform is asked', async ({ expect }) => {
    await using control = await fakeControl(() => ({ status: 500, body: { code: 'internal' } }));
    const data = ['--data', control.dataDir];
    for (const args of [
      ['secrets', 'put', 'KEY', ...data],
      ['secrets', 'put', 'KEY', '--function', 'hello', ...data],
      ['login', control.origin],
    ]) {
      const result = await isoplane(args, { env: { ISOPLANE_KEY: '' } });
      expect(result, args.join(' ')).toMatchObject({ code: 2, stdout: '' });
      expect(result.stderr, args.join(' ')).toMatch(/read from stdin, and nothing came[\s\S]*Pipe it/);
    }
    expect(control.calls).toEqual([]);
  });

  test('is said of logs, on stderr, so that a pipe stays empty', async ({ expect }) => {
    await using control = await fakeControl(() => ({ text: '' }));
    const data = ['--data', control.dataDir];
    const result = await isoplane(['logs', 'hello', ...data]);
    expect(result).toMatchObject({ code: 0, stdout: '' });
    expect(result.stderr).toContain('hello has logged nothing of late');
    expect(await isoplane(['logs', 'hello', '--json', ...data])).toMatchObject({ stdout: '', stderr: '' });
  });
});

describe('what invoke makes of an answer', () => {
  const functions = { items: [{ name: 'hello', enabled: true, aliases: [], createdAt: NOW }] };
  const refusing =
    (code: string, status: number) =>
    (call: SeenCall): Answer => {
      if (!call.url.startsWith('/v1/')) return { status, body: { code } };
      if (call.url.includes('/functions?')) return { body: functions };
      if (call.url.includes('/functions/hello/aliases'))
        return {
          body: { items: [{ name: 'live', weights: [{ version: 1, weight: 100 }], updatedAt: NOW }] },
        };
      return { status: 404, body: { code: 'function_not_found' } };
    };

  test('of an unknown function: a failure of the call, with the name that was meant', async ({ expect }) => {
    await using control = await fakeControl(refusing('function_not_found', 404));
    const call = (...args: string[]) => isoplane(['invoke', ...args, '--data', control.dataDir]);
    const unknown = await call('helo');
    expect(unknown).toMatchObject({ code: 1, stdout: '' });
    expect(unknown.stderr.match(/Did you mean "hello"\?/g)).toHaveLength(1);
    const alias = await call('hello', '--alias', 'lvie', '--json');
    expect(alias.code).toBe(1);
    expect(alias.json()).toMatchObject({
      error: { code: 'alias_not_found', detail: 'hello has no alias lvie. Did you mean "live"?' },
    });
  });

  test('a refusal before the function ran ends with 1, a failure of the function with 4', async ({
    expect,
  }) => {
    for (const [code, status, exit] of [
      ['queue_full', 429, 1],
      ['signature_invalid', 401, 1],
      ['no_capacity', 503, 1],
      ['cpu_exceeded', 500, 4],
      ['timeout', 504, 4],
    ] as const) {
      await using control = await fakeControl(refusing(code, status));
      const result = await isoplane(['invoke', 'hello', '-X', 'GET', '--data', control.dataDir]);
      expect(result.code, code).toBe(exit);
      expect(result.stdout.includes(code), code).toBe(exit === 4);
    }
  });

  test("curl's --data with a body is understood, and said", async ({ expect }) => {
    await using control = await fakeControl((call) => ({ body: { method: call.method, body: call.body } }));
    const env = { ISOPLANE_DATA_DIR: control.dataDir };
    const result = await isoplane(['invoke', 'hello', '--data', '{"a":1}'], { env });
    expect(result.json()).toEqual({ method: 'POST', body: '{"a":1}' });
    expect(result.stderr).toContain('Write -d');
  });
});

describe('isoplane kv', () => {
  test('sends a key as it is, whatever a path would make of it', async ({ expect }) => {
    await using control = await fakeControl(() => ({ text: '' }));
    for (const key of ['a/../b', '..', '../../store', '%2e%2e', 'a?b']) {
      expect((await isoplane(['kv', 'remove', 'ns', key, '--data', control.dataDir])).code).toBe(0);
      const url = new URL(control.calls.at(-1)?.url ?? '', control.origin);
      expect(url.pathname).toBe('/v1/accounts/default/kv-namespaces/ns/value');
      expect(url.searchParams.get('key')).toBe(key);
    }
  });

  test('ends a value with a line on a terminal, and adds nothing to a pipe', async ({ expect }) => {
    await using control = await fakeControl(() => ({ text: 'kept' }));
    const args = ['kv', 'get', 'ns', 'k', '--data', control.dataDir];
    expect((await isoplane(args)).stdout).toBe('kept');
    expect(await onTerminal(args)).toBe('kept\r\n');
  });

  test('lays out the documentation for a terminal, and gives it to a pipe as it is', async ({ expect }) => {
    const args = ['docs', 'config', 'assets'];
    const piped = (await isoplane(args)).stdout;
    expect(piped).toContain('| field | type | default | meaning |');
    expect(Math.max(...piped.split('\n').map((line) => line.length))).toBeGreaterThan(80);
    const shown = await onTerminal(args);
    expect(shown).not.toContain('|');
    expect(Math.max(...shown.split('\r\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  });
});
