/** Goal: what a client may write is bounded where shared/limits.ts says. Method: each bound, at it and one beyond. */
import { describe, test } from 'vitest';
import type { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { missingAssetsSchema } from './api.ts';
import { assetsConfigSchema } from './assets.ts';
import { functionConfigSchema, limitsSchema, scalingSchema } from './config.ts';
import { moduleNameProblem } from './modules.ts';
import { provisionSchema } from './provision.ts';

type Numbers = Readonly<Record<string, readonly [min: number, max: number, fallback: number | undefined]>>;

const OF_LIMITS: Numbers = {
  cpuMs: [10, LIMITS.cpuMsMax, LIMITS.cpuMsDefault],
  timeoutMs: [10, LIMITS.timeoutMsMax, LIMITS.timeoutMsDefault],
  memoryMb: [LIMITS.memoryMbMin, LIMITS.memoryMbMax, LIMITS.memoryMbDefault],
  requestBodyBytes: [0, LIMITS.requestBodyBytesMax, LIMITS.requestBodyBytesDefault],
  streamIdleMs: [100, LIMITS.streamIdleMsMax, LIMITS.streamIdleMsDefault],
  subrequests: [0, LIMITS.subrequestsMax, LIMITS.subrequestsDefault],
  connections: [1, LIMITS.connectionsMax, LIMITS.connectionsDefault],
  logBytesPerSecond: [1_024, LIMITS.logBytesPerSecondMax, LIMITS.logBytesPerSecondMax],
};

const OF_SCALING: Numbers = {
  concurrency: [1, LIMITS.concurrencyMax, LIMITS.concurrencyDefault],
  maxInstances: [1, LIMITS.maxInstancesMax, LIMITS.maxInstancesDefault],
  queueDepth: [0, LIMITS.queueDepthMax, LIMITS.queueDepthDefault],
  queueTimeoutMs: [10, LIMITS.queueTimeoutMsMax, LIMITS.queueTimeoutMsDefault],
  idleTimeoutMs: [100, LIMITS.idleTimeoutMsMax, LIMITS.idleTimeoutMsDefault],
  drainMs: [0, LIMITS.drainMsMax, LIMITS.drainMsDefault],
  maxRequests: [1, LIMITS.requestsPerInstanceMax, undefined],
  maxAgeMs: [LIMITS.instanceAgeMsMin, LIMITS.instanceAgeMsMax, undefined],
};

const HOOKS: Numbers = { timeoutMs: [10, LIMITS.hookTimeoutMsMax, LIMITS.hookTimeoutMsDefault] };

const config = (more: object): object => ({ compatibilityDate: '2026-01-01', ...more });
const accepts = (schema: z.ZodType, value: unknown): boolean => schema.safeParse(value).success;

describe('a number in a configuration', () => {
  const groups: readonly (readonly [string, Numbers, (value: object) => object])[] = [
    ['limits', OF_LIMITS, (limits) => config({ limits })],
    ['scaling', OF_SCALING, (scaling) => config({ scaling })],
    ['hooks.init', HOOKS, (init) => config({ hooks: { init } })],
    ['hooks.preStop', HOOKS, (preStop) => config({ hooks: { preStop } })],
  ];
  for (const [group, numbers, within] of groups)
    for (const [name, [min, max]] of Object.entries(numbers))
      test(`is bounded: ${group}.${name}`, ({ expect }) => {
        const taken = [min - 1, min, max, max + 1].map((value) =>
          accepts(functionConfigSchema, within({ [name]: value })),
        );
        expect(taken).toEqual([false, true, true, false]);
      });

  test('has its default where it is left out', ({ expect }) => {
    const defaults = (numbers: Numbers): object =>
      Object.fromEntries(
        Object.entries(numbers).flatMap(([name, [, , own]]) => (own === undefined ? [] : [[name, own]])),
      );
    expect(limitsSchema.parse({})).toEqual(defaults(OF_LIMITS));
    expect(scalingSchema.parse({})).toMatchObject(defaults(OF_SCALING));
    expect(functionConfigSchema.parse(config({ hooks: { init: {} } })).hooks.init).toEqual(defaults(HOOKS));
  });

  test('is in this table, each of them', ({ expect }) => {
    expect(Object.keys(OF_LIMITS).sort()).toEqual(Object.keys(limitsSchema.shape).sort());
    const others = ['isolation', 'session'];
    expect([...Object.keys(OF_SCALING), ...others].sort()).toEqual(Object.keys(scalingSchema.shape).sort());
  });
});

describe('a list in a configuration', () => {
  const lists: readonly (readonly [string, number, (index: number) => unknown])[] = [
    ['layers', LIMITS.layersPerFunctionMax, (index) => ({ name: `layer-${index}`, version: 1 })],
    ['services', LIMITS.bindingsMax, (index) => ({ binding: `S${index}`, function: 'other' })],
    ['kv', LIMITS.bindingsMax, (index) => ({ binding: `K${index}`, namespace: 'store' })],
    ['entrypoints', LIMITS.bindingsMax, (index) => `Class${index}`],
    ['authByPath', LIMITS.authPathsMax, (index) => ({ path: `/p/${index}`, auth: { mode: 'public' } })],
    ['secrets', LIMITS.secretsPerFunctionMax, (index) => `SECRET_${index}`],
  ];
  for (const [name, most, entry] of lists)
    test(`is bounded: ${name}`, ({ expect }) => {
      const taken = [most, most + 1].map((length) =>
        accepts(functionConfigSchema, config({ [name]: Array.from({ length }, (_, index) => entry(index)) })),
      );
      expect(taken).toEqual([true, false]);
    });

  test('is bounded: paths at which code answers before static assets, and the length of one', ({
    expect,
  }) => {
    const patterns = (length: number, bytes: number): object => ({
      runWorkerFirst: Array.from({ length }, (_, index) => `/${index}/`.padEnd(bytes, 'x')),
    });
    const { assetPatternsMax: most, assetPatternBytesMax: bytes } = LIMITS;
    expect(accepts(assetsConfigSchema, patterns(LIMITS.assetPatternsMax, bytes))).toBe(true);
    expect(accepts(assetsConfigSchema, patterns(most + 1, 10))).toBe(false);
    expect(accepts(assetsConfigSchema, patterns(1, LIMITS.assetPatternBytesMax + 1))).toBe(false);
  });
});

test('instances that an alias keeps ready are bounded, at any time', ({ expect }) => {
  const window = { days: [1], from: '08:00', to: '18:00' };
  for (const provision of [
    (instances: number) => ({ instances }),
    (instances: number) => ({ schedule: [{ ...window, instances }] }),
  ])
    expect(
      [LIMITS.provisionedMax, LIMITS.provisionedMax + 1].map((most) =>
        accepts(provisionSchema, provision(most)),
      ),
    ).toEqual([true, false]);
});

test('the calls that a rate-limit binding lets through are bounded', ({ expect }) => {
  const rule = (limit: number): object =>
    config({ rateLimits: [{ binding: 'R', limit, periodSeconds: 10 }] });
  const taken = [0, 1, LIMITS.rateLimitMax, LIMITS.rateLimitMax + 1].map((limit) =>
    accepts(functionConfigSchema, rule(limit)),
  );
  expect(taken).toEqual([false, true, true, false]);
});

test('one question about missing assets names a bounded number of files', ({ expect }) => {
  const files = (length: number): object => ({
    files: Array.from({ length }, () => ({ digest: 'a'.repeat(64), bytes: 1 })),
  });
  const { assetsPerCheckMax: most } = LIMITS;
  expect(
    [LIMITS.assetsPerCheckMax, most + 1].map((length) => accepts(missingAssetsSchema, files(length))),
  ).toEqual([true, false]);
});

test('the name of a module is bounded in bytes', ({ expect }) => {
  expect(moduleNameProblem('a'.repeat(LIMITS.moduleNameBytesMax))).toBeUndefined();
  expect(moduleNameProblem('a'.repeat(LIMITS.moduleNameBytesMax + 1))).toBe('is longer than 256 bytes');
});
