/**
 * Every regular expression in the sources that takes more than linear time for some text, after scslre. Tenants and
 * callers choose the texts, and each plane has one thread for all of them: one such search stops everybody.
 *
 * Not all are found: two repetitions with text between them that the first takes as well, as in `at (.+:\d+) in (.+)$`,
 * pass for quick. Texts of others are better split at a character that is searched for.
 */
import { parseSync, Visitor } from 'oxc-parser';
import { analyse, type Report } from 'scslre';

export interface Expression {
  readonly line: number;
  readonly source: string;
  readonly flags: string;
}

/** Literals, and `new RegExp` of constants. What is put together at run time is not seen. */
export function expressionsOf(path: string, source: string): Expression[] {
  const found: Expression[] = [];
  const add = (start: number, pattern: string, flags: string): void =>
    void found.push({ line: source.slice(0, start).split('\n').length, source: pattern, flags });
  const { program, errors } = parseSync(path, source);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
  new Visitor({
    Literal(node) {
      if ('regex' in node) add(node.start, node.regex.pattern, node.regex.flags);
    },
    NewExpression({ start, callee, arguments: given }) {
      if (callee.type !== 'Identifier' || callee.name !== 'RegExp') return;
      const [pattern, flags] = given.map((argument) =>
        argument.type === 'Literal' && typeof argument.value === 'string' ? argument.value : undefined,
      );
      if (pattern !== undefined) add(start, pattern, flags ?? '');
    },
  }).visit(program);
  return found;
}

const WHY: Readonly<Record<Report['type'], string>> = {
  Self: 'a repetition within a repetition',
  Trade: 'two repetitions of the same characters beside each other',
  Move: 'a repetition that is begun anew at each of its characters',
};

/** Why the expression is slow for some text; undefined when it is not known to be. */
export function slowness({ source, flags }: Pick<Expression, 'source' | 'flags'>): string | undefined {
  const { reports } = analyse({ source, flags });
  const [worst] = reports.toSorted((left, right) => Number(right.exponential) - Number(left.exponential));
  return worst === undefined ? undefined : WHY[worst.type];
}
