/** What lists look like on a terminal. */
import { describe, test } from 'vitest';
import { fakeControl } from '../testing/fake-control.ts';
import { isoplane } from '../testing/run-command.ts';

const NOW = '2026-11-23T00:00:00.000Z';
const version = {
  function: 'storefront',
  number: 1,
  digest: 'a'.repeat(64),
  main: 'index.js',
  modules: [],
  config: { compatibilityDate: '2026-11-01' },
  createdAt: NOW,
};
const deployment = {
  id: 'd1',
  function: 'storefront',
  alias: 'live',
  weights: [{ version: 1, weight: 100 }],
  reason: 'publish',
  createdAt: NOW,
  revision: 9,
};

describe('lists', () => {
  const id = (prefix: string): string => `${prefix}-0123456789abcdef0123`;
  const key = (name: string) => ({
    id: id('key'),
    name,
    role: 'deployer',
    algorithm: 'hmac-sha256',
    createdAt: NOW,
  });
  const history = {
    ...deployment,
    previous: [{ version: 2, weight: 100 }],
    createdBy: id('key'),
    message: 'a note about what this change is for and who asked',
  };

  test('fit 80 columns and show names, not ids', async ({ expect }) => {
    await using control = await fakeControl((call) => {
      if (call.url.includes('/keys')) return { body: { items: [key('production-deployer')] } };
      if (call.url.includes('/deployments')) return { body: { items: [history] } };
      if (call.url.includes('/versions'))
        return { body: { items: [{ ...version, createdBy: id('key'), message: history.message }] } };
      if (call.url.includes('/routes'))
        return {
          body: {
            items: [
              {
                id: id('route'),
                host: 'www.example.com',
                path: '/shop/*',
                function: 'storefront',
                alias: 'live',
                createdAt: NOW,
              },
            ],
          },
        };
      const aliases = [
        {
          name: 'live',
          weights: [
            { version: 1, weight: 90 },
            { version: 2, weight: 10 },
          ],
          updatedAt: NOW,
        },
      ];
      return { body: { name: 'storefront', enabled: true, aliases, latestVersion: 2, createdAt: NOW } };
    });
    for (const args of [
      ['functions', 'show', 'storefront'],
      ['versions', 'storefront'],
      ['keys', 'list'],
      ['routes', 'list'],
    ]) {
      const { stdout, code } = await isoplane([...args, '--data', control.dataDir]);
      expect(code, args.join(' ')).toBe(0);
      for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
      expect(stdout, args.join(' ')).not.toContain(id('key'));
    }
    const shown = await isoplane(['functions', 'show', 'storefront', '--data', control.dataDir]);
    expect(shown.stdout).toContain('production-deployer');
  });
});
