/**
 * Which compatibility dates and flags the pinned workerd accepts from a published function.
 *
 * The npm package ships no list, so flags.json holds the stable flags with the date from
 * which each is the default; a test asks the pinned binary about every row, so an upgrade cannot go
 * unnoticed. Experimental flags and Python are left out on purpose: unknown means refused.
 */
import type { FieldProblem } from '../field-problem.ts';
import workerd from 'workerd/package.json' with { type: 'json' };
import flags from './flags.json' with { type: 'json' };

interface FlagRow {
  /** Naming the flag from this date on is an error: it is on by default. */
  readonly defaultSince?: string;
  readonly opposite?: string;
}

export type FlagTable = ReadonlyMap<string, FlagRow>;

export const COMPATIBILITY_FLAGS: FlagTable = new Map(Object.entries<FlagRow>(flags));

/** workerd 1.YYYYMMDD.x supports dates up to YYYY-MM-DD. */
export function latestDateOf(workerdVersion: string): string {
  const match = /^1\.(\d{4})(\d{2})(\d{2})\./.exec(workerdVersion);
  if (match === null) throw new Error(`cannot read a date from workerd's version ${workerdVersion}`);
  return `${match[1]}-${match[2]}-${match[3]}`;
}

export const LATEST_COMPATIBILITY_DATE = latestDateOf(workerd.version);

function isCalendarDate(text: string): boolean {
  const parsed = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(text);
}

/** Flags of the assets, which workerd knows nothing of (control/assets/plan.ts). */
export const NAVIGATION_FIRST = 'assets_navigation_prefers_asset_serving';
export const NAVIGATION_NO_EFFECT = 'assets_navigation_has_no_effect';
export const NAVIGATION_FIRST_SINCE = '2025-04-01';

function flagProblem(flag: string, date: string, all: ReadonlySet<string>): string | undefined {
  if (flag.startsWith('python_workers')) return `${flag} is not supported: Isoplane does not run Python`;
  if (flag === NAVIGATION_FIRST || flag === NAVIGATION_NO_EFFECT) return undefined;
  const row = COMPATIBILITY_FLAGS.get(flag);
  if (row === undefined) return `${flag} is unknown or experimental`;
  if (row.defaultSince !== undefined && date >= row.defaultSince)
    return `${flag} is on by default since ${row.defaultSince} and may not be named with compatibility date ${date}: remove it`;
  if (row.opposite !== undefined && all.has(row.opposite)) return `${flag} contradicts ${row.opposite}`;
  return undefined;
}

/** Whether a flag is in force: named, or on by default at that date and not switched off. Implied flags are not looked at. */
export function isFlagOn(flag: string, date: string, flagNames: readonly string[]): boolean {
  if (flagNames.includes(flag)) return true;
  const row = COMPATIBILITY_FLAGS.get(flag);
  return (
    row?.defaultSince !== undefined &&
    date >= row.defaultSince &&
    (row.opposite === undefined || !flagNames.includes(row.opposite))
  );
}

/** Flags that the date turns on already: the runtime refuses to be told so, although nothing else is meant. */
export function redundantFlags(date: string, flagNames: readonly string[]): readonly string[] {
  return flagNames.filter((flag) => {
    const since = COMPATIBILITY_FLAGS.get(flag)?.defaultSince;
    return since !== undefined && date >= since;
  });
}

/** Pure; all problems at once, with their paths in the configuration. */
export function compatibilityProblems(
  date: string,
  flagNames: readonly string[],
  latestDate: string,
): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (!isCalendarDate(date))
    problems.push({ path: 'config.compatibilityDate', message: `${date} is not a date` });
  else if (date > latestDate)
    problems.push({
      path: 'config.compatibilityDate',
      message: `${date} is later than ${latestDate}, the latest date that this platform supports`,
    });
  const all = new Set(flagNames);
  for (const [index, flag] of flagNames.entries()) {
    const message =
      flagNames.indexOf(flag) === index ? flagProblem(flag, date, all) : `${flag} is listed twice`;
    if (message !== undefined) problems.push({ path: `config.compatibilityFlags.${index}`, message });
  }
  return problems;
}
