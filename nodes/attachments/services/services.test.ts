/** Where a call goes, how deep it stands, which headers pass: decisions on plain values. */
import { describe, test } from 'vitest';
import { limitsSchema, scalingSchema } from '#shared/contracts/config.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { accountNameSchema, functionNameSchema, versionId } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { CallDepths } from './depth.ts';
import { isFunctionError } from '#shared/contracts/invoke.ts';
import { CallerSessions } from './sessions.ts';
import { serviceState, Targets, type ServiceTarget } from './targets.ts';
import { COMPLETE } from '../protocol.ts';

function functionItem(
  name: string,
  aliases: Record<string, { version: number; weight: number }[]>,
  parts: { account?: string; enabled?: boolean } = {},
): FeedItem {
  const account = accountNameSchema.parse(parts.account ?? 'default');
  const value = { account, name: functionNameSchema.parse(name), enabled: parts.enabled ?? true, aliases };
  return { kind: 'function', key: `${account}/${name}`, value };
}

function runnableItem(
  name: string,
  number: number,
  entrypoints: string[] = [],
  account = 'default',
): FeedItem {
  const id = versionId(account, name, number);
  const value = { id, limits: limitsSchema.parse({}), scaling: scalingSchema.parse({}), entrypoints };
  return { kind: 'runnable', key: id, value } as unknown as FeedItem;
}

function targets(items: readonly FeedItem[], random = 0): Targets {
  const made = new Targets(() => random);
  made.apply([...items.flatMap((item) => serviceState(item) ?? []), { key: COMPLETE, value: true }]);
  return made;
}

const to = (functionName: string, parts: Partial<ServiceTarget> = {}): ServiceTarget => ({
  account: 'default',
  caller: 'caller',
  functionName,
  alias: 'live',
  entrypoint: undefined,
  ...parts,
});

function outcome(work: () => unknown): unknown {
  try {
    return work();
  } catch (thrown) {
    return thrown instanceof PlatformError ? thrown.code : thrown;
  }
}

describe('Targets', () => {
  const live = { live: [{ version: 1, weight: 100 }] };

  test('finds the version behind the alias, and the socket of the entrypoint', ({ expect }) => {
    const index = targets([functionItem('api', live), runnableItem('api', 1, ['Admin', 'Jobs'])]);
    const at = (entrypoint?: string) => {
      const { version, socketFile } = index.resolve(to('api', { entrypoint }));
      return [version.id, socketFile];
    };
    expect([at(), at('Admin'), at('Jobs')]).toEqual([
      ['default/api@1', 'r.sock'],
      ['default/api@1', 'r0.sock'],
      ['default/api@1', 'r1.sock'],
    ]);
  });

  test('spreads over a weighted alias', ({ expect }) => {
    const items = [
      functionItem('api', {
        live: [
          { version: 1, weight: 25 },
          { version: 2, weight: 75 },
        ],
      }),
      runnableItem('api', 1),
      runnableItem('api', 2),
    ];
    const picked = [0, 0.249, 0.25, 0.999].map(
      (random) => targets(items, random).resolve(to('api')).version.id,
    );
    expect(picked).toEqual(['default/api@1', 'default/api@1', 'default/api@2', 'default/api@2']);
  });

  test('says what is missing: function, alias, version, entrypoint; and that it is disabled', ({
    expect,
  }) => {
    const index = targets([
      functionItem('api', live),
      runnableItem('api', 1),
      functionItem('off', live, { enabled: false }),
      functionItem('early', live),
      functionItem('foreign', live, { account: 'other' }),
      runnableItem('foreign', 1, [], 'other'),
    ]);
    const codes = [
      to('absent'),
      to('api', { alias: 'beta' }),
      to('early'),
      to('foreign'),
      to('off'),
      to('api', { entrypoint: 'Admin' }),
    ].map((target) => outcome(() => index.resolve(target)));
    expect(codes).toEqual([
      'function_not_found',
      'function_not_found',
      'function_not_found',
      'function_not_found',
      'function_disabled',
      'binding_not_found',
    ]);
  });

  test('says that nothing is missing before the feed was heard: it may come', ({ expect }) => {
    const index = new Targets(() => 0);
    index.apply(
      [functionItem('api', live), runnableItem('api', 1), functionItem('early', live)].flatMap(
        (item) => serviceState(item) ?? [],
      ),
    );
    expect(index.resolve(to('api')).version.id).toBe('default/api@1');
    for (const name of ['absent', 'early'])
      expect(outcome(() => index.resolve(to(name)))).toBe('control_unavailable');
  });

  test('forgets what the feed takes away', ({ expect }) => {
    const index = targets([functionItem('api', live), runnableItem('api', 1)]);
    index.apply([{ key: 'function/default/api', value: undefined }]);
    expect(outcome(() => index.resolve(to('api')))).toBe('function_not_found');
  });
});

describe('CallDepths', () => {
  test('counts one below the deepest call in flight on the instance', ({ expect }) => {
    const depths = new CallDepths();
    expect(depths.next('a')).toBe(1);
    const first = depths.entered('a', 1);
    const deep = depths.entered('a', 7);
    expect([depths.next('a'), depths.next('b')]).toEqual([8, 1]);
    depths.left(deep);
    depths.left(deep);
    expect(depths.next('a')).toBe(2);
    depths.left(first);
    expect(depths.next('a')).toBe(1);
  });

  test(`allows a chain of ${LIMITS.callDepthMax} and no more`, ({ expect }) => {
    const depths = new CallDepths();
    let deepest = 0;
    for (let depth = depths.next('a'); depth !== undefined; depth = depths.next('a')) {
      depths.entered('a', depth);
      deepest = depth;
    }
    expect(deepest).toBe(LIMITS.callDepthMax);
  });
});

describe('isFunctionError()', () => {
  test('goes by the word of the entry module on a response of status 500', ({ expect }) => {
    const verdicts = [
      isFunctionError(500, 'function_error'),
      isFunctionError(500, undefined),
      isFunctionError(500, 'answered'),
      isFunctionError(200, 'function_error'),
    ];
    expect(verdicts).toEqual([true, true, false, false]);
  });
});

describe('CallerSessions', () => {
  test('is one for each calling instance until that ends, and only where sessions are asked for', ({
    expect,
  }) => {
    let made = 0;
    const sessions = new CallerSessions(() => String((made += 1)));
    const scaling = scalingSchema.parse({ isolation: 'session' });
    const of = (instanceId: string) => sessions.of(instanceId, scaling);
    expect([of('a'), of('b'), of('a'), sessions.of('c', scalingSchema.parse({}))]).toEqual([
      '1',
      '2',
      '1',
      undefined,
    ]);
    sessions.ended('a');
    expect([of('a'), of('b')]).toEqual(['3', '2']);
  });
});
