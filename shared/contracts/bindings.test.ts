/** Bindings as nodes are told of them: what earlier releases wrote is still read. */
import { describe, test } from 'vitest';
import { functionConfigSchema } from './config.ts';
import { runnableItemSchema } from './feed.ts';

const { style, vars, limits, scaling, hooks, tier, entrypoints } = functionConfigSchema.parse({
  compatibilityDate: '2026-11-01',
});
const COMMON = {
  id: 'default/hello@1',
  main: 'index.js',
  modules: [{ name: 'index.js', type: 'esm', digest: 'a'.repeat(64), bytes: 1 }],
  compatibilityDate: '2026-11-01',
  compatibilityFlags: [],
  egress: { allow: [], deny: [], headers: [] },
  secrets: [],
  style,
  vars,
  limits,
  scaling,
  hooks,
  tier,
  entrypoints,
};
const served = {
  manifest: 'b'.repeat(64),
  manifestBytes: 10,
  config: { binding: 'FILES' },
  anyone: true,
  alone: false,
  navigationFirst: false,
};

describe('a runnable version', () => {
  test('as an earlier release wrote it has its bindings in one list, in the same order', ({ expect }) => {
    const { bindings, ...rest } = runnableItemSchema.parse({
      ...COMMON,
      services: [
        { binding: 'PRICES', function: 'prices', alias: 'live' },
        { binding: 'ADMIN', function: 'prices', alias: 'beta', entrypoint: 'Admin' },
      ],
      kv: [{ binding: 'LINKS', namespaceId: 'n1' }],
      rateLimits: [{ binding: 'LOGINS', namespace: 'hello.LOGINS', limit: 5, periodSeconds: 60 }],
      assetsBinding: { binding: 'FILES', served },
    });
    expect(bindings).toEqual([
      {
        kind: 'service',
        name: 'PRICES',
        id: 'prices@live',
        terms: { function: 'prices', alias: 'live' },
      },
      {
        kind: 'service',
        name: 'ADMIN',
        id: 'prices@beta',
        terms: { function: 'prices', alias: 'beta', entrypoint: 'Admin' },
      },
      { kind: 'kv', name: 'LINKS', id: 'n1', terms: {} },
      {
        kind: 'rate-limit',
        name: 'LOGINS',
        id: 'hello.LOGINS',
        terms: { limit: 5, periodSeconds: 60 },
      },
      { kind: 'assets', name: 'FILES', id: served.manifest, terms: served },
    ]);
    expect(Object.keys(rest)).not.toEqual(expect.arrayContaining(['services']));
    expect(runnableItemSchema.parse({ ...rest, bindings })).toEqual({ ...rest, bindings });
  });

  test('that is neither of an earlier release nor of this one is not read', ({ expect }) => {
    for (const wrong of [{}, { services: [] }, { services: 1, kv: [] }, { services: [null], kv: [7] }])
      expect(runnableItemSchema.safeParse({ ...COMMON, ...wrong }).success).toBe(false);
    expect(runnableItemSchema.safeParse(null).success).toBe(false);
  });

  test('takes kinds that this release has never heard of', ({ expect }) => {
    const bindings = [{ kind: 'echo', name: 'ECHO', id: '42', terms: { loud: true } }];
    expect(runnableItemSchema.parse({ ...COMMON, bindings }).bindings).toEqual(bindings);
    expect(
      runnableItemSchema.safeParse({ ...COMMON, bindings: [{ ...bindings[0], kind: '../echo' }] }).success,
    ).toBe(false);
  });
});
