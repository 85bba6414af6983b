/** Rate-limit bindings, as the agent plugs them in. */
import { parseVersionId } from '#shared/ids.ts';
import { rateLimitSocket } from '../../slots/sockets.ts';
import { threadModule, type BindingKind } from '../kind.ts';
import type { RateRule } from './windows.ts';

export function rateLimitBindings(): BindingKind {
  return {
    name: 'rate-limits',
    thread: threadModule('./rate-limits/main.node'),
    data: undefined,
    socketsOf: (runnable) =>
      runnable.rateLimits.map(({ namespace, limit, periodSeconds }, index) => ({
        file: rateLimitSocket(index),
        target: {
          account: parseVersionId(runnable.id).account,
          namespace,
          limit,
          periodMs: periodSeconds * 1_000,
        } satisfies RateRule,
      })),
    stateOf: () => undefined,
  };
}
