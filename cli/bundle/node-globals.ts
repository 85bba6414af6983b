/** Globals of Node.js that came after a project's date, where wrangler puts a polyfill in: their own flag brings them. */
import { isNodeLike } from './npm-shims.ts';

interface LateGlobal {
  readonly flag: string;
  readonly opposite: string;
  /** From this date on `nodejs_compat` implies the flag. */
  readonly since: string;
  /** What of it code says that needs the flag. */
  readonly named: RegExp;
}

const LATE: readonly LateGlobal[] = [
  {
    flag: 'enable_global_performance_classes',
    opposite: 'disable_global_performance_classes',
    since: '2026-03-17',
    named: /(?<![\w$])Performance(?:Entry|Mark|Measure|Observer|ObserverEntryList|ResourceTiming)?(?![\w$])/,
  },
  {
    // Before it `process` has env, exit, features, nextTick, platform and getBuiltinModule alone.
    flag: 'enable_nodejs_process_v2',
    opposite: 'disable_nodejs_process_v2',
    since: '2025-09-15',
    named:
      /(?<![\w$.])process\??\.(?:arch|argv|cwd|emit|emitWarning|execArgv|execPath|hrtime|memoryUsage|off|on|once|pid|release|removeListener|stderr|stdin|stdout|title|umask|uptime|version|versions)(?![\w$])/,
  },
];

/** @param code - of the bundle. A mention in a string counts, too. */
export function flagsOfGlobals(code: string, date: string, flags: readonly string[]): readonly string[] {
  if (!isNodeLike(date, flags)) return [];
  return LATE.filter(
    ({ flag, opposite, since, named }) =>
      date < since && !flags.includes(flag) && !flags.includes(opposite) && named.test(code),
  ).map(({ flag }) => flag);
}
