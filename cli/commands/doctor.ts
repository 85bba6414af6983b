/** `isoplane doctor`: what this machine can and cannot enforce, and what to install. */
import colors from 'picocolors';
import type { Context } from '../context.ts';
import { allChecks, type Check } from '../doctor/checks.ts';
import { EXIT } from '../failure.ts';
import { plain } from '../output.ts';

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
  context.output.result({ healthy, checks }, () => checks.flatMap(checkLines).join('\n'));
  return healthy ? EXIT.done : EXIT.failed;
}

function checkLines(check: Check): string[] {
  const lines = [`${MARK[check.status]} ${check.name.padEnd(16)} ${plain(check.found)}`];
  const indent = ' '.repeat(22);
  if (check.means !== undefined) lines.push(`${indent}${check.means}`);
  if (check.fix !== undefined) lines.push(`${indent}${colors.bold('→')} ${check.fix}`);
  return lines;
}
