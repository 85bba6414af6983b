/** Where static assets stand in the way of a request: before anybody is asked who they are, or after. */
import type { VersionItem } from '#shared/contracts/feed.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import type { UsageMeters } from '#shared/usage/meter.ts';
import { authFor } from '../auth/by-path.ts';
import type { Metrics } from '../metrics.ts';
import type { AssetAnswer, AssetPort, Call } from '../ports.ts';
import type { Target } from '../routing/router.ts';

/** Undefined: there are none, or the code answers. */
export type AssetStep = (
  call: Call,
  target: Target,
  about: { readonly requestId: string; readonly anyone: boolean },
) => Promise<Response | undefined> | undefined;

export function assetStep(
  port: AssetPort | undefined,
  { metrics, usage }: { readonly metrics: Metrics; readonly usage: UsageMeters },
): AssetStep {
  return (call, target, { requestId, anyone }) => {
    const served = target.version.assets;
    if (port === undefined || served === undefined) return undefined;
    const answered = async (planned: AssetAnswer | undefined): Promise<Response | undefined> => {
      if (planned === undefined) return undefined;
      metrics.count('asset');
      const meter = usage.of(target.version.id);
      return planned.send(call, { account: target.functionItem.account, requestId, meter, anyone });
    };
    const planned = port.plan(call, target, served);
    return planned instanceof Promise ? planned.then(answered) : answered(planned);
  };
}

/** Whether the files at this path are for anyone: a rule of `authByPath` holds for files as for code. */
export function isOpen(version: VersionItem, target: RequestTarget): boolean {
  return (
    version.assets !== undefined &&
    (authFor(version, target)?.mode === 'public' ||
      (version.assets.config.auth === 'public' && authFor(version, target) === version.auth))
  );
}
