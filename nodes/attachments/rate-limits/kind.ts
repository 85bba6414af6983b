/** Rate-limit bindings, as the agent plugs them in. */
import { rateLimitTermsSchema } from '#shared/contracts/bindings.ts';
import { parseVersionId } from '#shared/ids.ts';
import { RATE_LIMIT } from '../../entry/pack.ts';
import { threadModule, type AttachmentKind } from '../kind.ts';
import type { RateRule } from './windows.ts';

export function rateLimitBindings(): AttachmentKind {
  return {
    name: 'rate-limit',
    thread: threadModule('./rate-limits/main'),
    data: undefined,
    bound: {
      declare: ({ name }, { service, socketName }) => ({
        service: { name: service, kind: 'external', style: 'host', socketName },
        binding: { name, kind: 'wrapped', module: RATE_LIMIT, agent: { service } },
      }),
      target: ({ id, terms }, runnable): RateRule => {
        const { limit, periodSeconds } = rateLimitTermsSchema.parse(terms);
        return {
          account: parseVersionId(runnable.id).account,
          namespace: id,
          limit,
          periodMs: periodSeconds * 1_000,
        };
      },
    },
    stateOf: () => undefined,
  };
}
