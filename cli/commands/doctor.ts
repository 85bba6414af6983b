/** `isoplane doctor`: what this machine can and cannot enforce, and what to install. */
import colors from 'picocolors';
import type { Context } from '../context.ts';
import { allChecks, type Check } from '../doctor/checks.ts';
import { EXIT } from '../failure.ts';
import { plain } from '../output.ts';
import { terminalWidth, wrap } from '../table.ts';

const MARK: Record<Check['status'], string> = {
  ok: colors.green('ok  '),
  warn: colors.yellow('warn'),
  fail: colors.red('FAIL'),
};

export async function doctor(context: Context): Promise<number> {
  const checks = await context.output.step(
    'looking at this machine',
    () => allChecks(context.options.data),
    (found) => `${found.length} checks`,
  );
  const healthy = checks.every((check) => check.status !== 'fail');
  context.output.result({ healthy, checks }, () => checks.flatMap((check) => checkLines(check)).join('\n'));
  return healthy ? EXIT.done : EXIT.failed;
}

/** Of the mark and the name, with a space behind each. */
const INDENT = 22;

export function checkLines(check: Check, width: number = terminalWidth()): string[] {
  const room = width - INDENT;
  const indented = (text: string): string[] =>
    wrap(plain(text), room).map((line) => ' '.repeat(INDENT) + line);
  const [found = '', ...more] = indented(check.found);
  const lines = [`${MARK[check.status]} ${check.name.padEnd(16)} ${found.trimStart()}`, ...more];
  if (check.means !== undefined) lines.push(...indented(check.means));
  if (check.fix !== undefined)
    lines.push(...indented(`→ ${check.fix}`).map((line) => line.replace('→', colors.bold('→'))));
  return lines;
}
