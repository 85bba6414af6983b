import { describe, test } from 'vitest';
import { functionConfigSchema } from './contracts/config.ts';
import { plainIssue } from './field-problem.ts';

/** In a configuration that is right otherwise. */
function problems(parts: Readonly<Record<string, unknown>>): readonly string[] {
  const { error } = functionConfigSchema.safeParse({ compatibilityDate: '2026-01-01', ...parts });
  return (error?.issues ?? []).map(plainIssue).map(({ path, message }) => `${path.join('.')}: ${message}`);
}

describe('of a value that may be several things', () => {
  test.for([
    [{ auth: { mode: 'none' } }, 'auth.mode: must be "signed", "public" or "jwt"'],
    [{ egress: 5 }, 'egress: must be "none", "public" or an object'],
    [{ egress: 'all' }, 'egress: must be "none", "public" or an object'],
    [{ egress: { allow: [5] } }, 'egress.allow.0: Invalid input: expected string, received number'],
    [
      { authByPath: [{ path: '/*', auth: { mode: 'x' } }] },
      'authByPath.0.auth.mode: must be "signed", "public" or "jwt"',
    ],
  ] as const)('%j is told what it may be, or what is wrong inside', ([parts, told], { expect }) => {
    expect(problems(parts)).toEqual([told]);
  });

  test('no setting is told that its input is invalid and no more', ({ expect }) => {
    const wrong = [5, 'x', '', [], {}, [5], [{}], null, -1, true, { mode: 'no' }, { allow: [5] }];
    const said = Object.keys(functionConfigSchema.shape).flatMap((name) =>
      wrong.flatMap((value) => problems({ [name]: value })),
    );
    expect(said.length).toBeGreaterThan(100);
    expect(said.filter((each) => /Invalid input$|discriminator/.test(each))).toEqual([]);
  });
});
