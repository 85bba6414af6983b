/** Versions that may not start, as a table for people. */
import type { HeldView } from '#shared/contracts/api.ts';
import { whenText } from '../output.ts';
import { table } from '../table.ts';

/** Lines to print after an empty one; none when every version may start. */
export function heldLines(held: readonly HeldView[] | undefined): string[] {
  if (held === undefined || held.length === 0) return [];
  return [
    '',
    table(
      ['NOT STARTED', 'WHY', 'LAST END', 'UNTIL', 'TIMES'],
      held.map((entry) => [
        entry.version,
        entry.code,
        entry.reason ?? '-',
        whenText(entry.until),
        String(entry.count),
      ]),
    ),
  ];
}
