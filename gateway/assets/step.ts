/** Where static assets stand in the way of a request: before anybody is asked who they are, or after. */
import type { Auth } from '#shared/contracts/config.ts';
import type { VersionItem } from '#shared/contracts/feed.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import type { UsageMeters } from '#shared/usage/meter.ts';
import { authFor, ruleForFile } from '../auth/by-path.ts';
import type { Metrics } from '../metrics.ts';
import type { AssetAnswer, AssetPort, Call } from '../ports.ts';
import type { Target } from '../routing/router.ts';

/** Undefined: there are none, or the code answers. */
export type AssetStep = (
  call: Call,
  target: Target,
  about: { readonly requestId: string; readonly anyone: boolean },
) => Promise<Response | undefined> | undefined;

export interface StepDeps {
  readonly metrics: Metrics;
  readonly usage: UsageMeters;
  /** Judges a caller by a rule. @returns what to answer who must not read; undefined: the caller may. */
  readonly judge: (
    call: Call,
    target: Target,
    about: { readonly requestId: string; readonly by: Auth },
  ) => Promise<Response | undefined>;
}

export function assetStep(port: AssetPort | undefined, { metrics, usage, judge }: StepDeps): AssetStep {
  return (call, target, { requestId, anyone }) => {
    const served = target.version.assets;
    if (port === undefined || served === undefined) return undefined;
    const answered = async (planned: AssetAnswer | undefined): Promise<Response | undefined> => {
      if (planned === undefined) return undefined;
      // Who may be anyone was judged by no rule.
      const judged = anyone ? undefined : authFor(target.version, call.target);
      const rules = rulesBeyond(target.version, judged, planned.paths);
      for (const by of rules) {
        const refusal = await judge(call, target, { requestId, by });
        if (refusal !== undefined) return refusal;
      }
      metrics.count('asset');
      const meter = usage.of(target.version.id);
      const { account } = target.functionItem;
      return planned.send(call, { account, requestId, meter, anyone: anyone && rules.length === 0 });
    };
    const planned = port.plan(call, target, served);
    return planned instanceof Promise ? planned.then(answered) : answered(planned);
  };
}

const NONE: readonly Auth[] = [];

/**
 * Rules by which the caller was not judged yet: of where the file lies, and of the address that a rewrite leads to.
 * `/admin` shows admin.html, and whoever guards `/admin.html` means the file.
 */
function rulesBeyond(version: VersionItem, by: Auth | undefined, paths: readonly string[]): readonly Auth[] {
  if (version.authByPath.length === 0) return NONE;
  const judged = new Set([JSON.stringify(by)]);
  return paths.flatMap((path) => {
    const rule = ruleForFile(version, path);
    const text = JSON.stringify(rule);
    if (rule === undefined || rule.mode === 'public' || judged.has(text)) return [];
    judged.add(text);
    return [rule];
  });
}

/** Whether the files at this path are for anyone: a rule of `authByPath` holds for files as for code. */
export function isOpen(version: VersionItem, target: RequestTarget): boolean {
  if (version.assets === undefined) return false;
  const auth = authFor(version, target);
  return auth?.mode === 'public' || (version.assets.config.auth === 'public' && auth === version.auth);
}
