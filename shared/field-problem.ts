/** One entry of `problems` in a document: what is wrong, and where in what was sent. */
import type { z } from 'zod';

export interface FieldProblem {
  readonly path: string;
  readonly message: string;
}

export interface PlainIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/**
 * What a person can act on. Of a value that fits none of several alternatives zod says just that: here is said what is
 * wrong in the one that it came furthest into, or what it may be.
 */
export function plainIssue(issue: z.core.$ZodIssue): PlainIssue {
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined'))
    return { path: issue.path, message: `is missing: give ${alternatives(wantedBy(issue))}` };
  if (issue.code !== 'invalid_union') return issue;
  const { path, message } = issue;
  if ('options' in issue && issue.options !== undefined)
    return { path, message: `must be ${alternatives(issue.options.map((each) => JSON.stringify(each)))}` };
  const [deepest] = issue.errors.flat().toSorted((a, b) => b.path.length - a.path.length);
  if (deepest === undefined) return { path, message };
  if (deepest.path.length > 0) {
    const inside = plainIssue(deepest);
    return { path: [...path, ...inside.path], message: inside.message };
  }
  const wanted = issue.errors.flatMap(([first]) => (first === undefined ? [] : wantedBy(first)));
  return { path, message: `must be ${alternatives(wanted)}` };
}

function wantedBy(issue: z.core.$ZodIssue): readonly string[] {
  if (issue.code === 'invalid_value') return issue.values.map((value) => JSON.stringify(value));
  if (issue.code === 'invalid_type') {
    const type = issue.expected === 'record' ? 'object' : issue.expected;
    return [type === 'null' ? type : `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}`];
  }
  return [issue.message];
}

function alternatives(all: readonly string[]): string {
  const different = [...new Set(all)];
  const last = different.pop() ?? 'something else';
  return different.length === 0 ? last : `${different.join(', ')} or ${last}`;
}
