/** An {@link InstanceCall} made of plain values, for tests without sockets. */
import { readTarget } from '#shared/http/target.ts';
import type { BodyRead, ForwardOutcome, ForwardPlan, InstanceCall } from '../ports.ts';

export interface FakeCallParts {
  readonly method?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
  /** The client does not say how long its body is. */
  readonly chunked?: boolean;
  readonly upgrades?: boolean;
  readonly answer?: (plan: ForwardPlan) => ForwardOutcome;
}

export function fakeCall(parts: FakeCallParts = {}): InstanceCall & {
  readonly plans: ForwardPlan[];
  /** Bounds of the body reads that were asked for. */
  readonly reads: readonly number[];
} {
  const url = new URL(parts.url ?? 'http://hello.localhost/');
  const target = readTarget(url.href.slice(url.origin.length));
  if ('problem' in target) throw new Error(target.problem);
  const plans: ForwardPlan[] = [];
  const reads: number[] = [];
  return {
    plans,
    reads,
    method: parts.method ?? 'GET',
    scheme: 'http',
    host: url.host,
    target,
    client: '192.0.2.1',
    upgrades: parts.upgrades ?? false,
    bodyBytes: parts.body === undefined ? 0 : parts.chunked === true ? undefined : parts.body.byteLength,
    gone: false,
    header: (name) => parts.headers?.[name],
    buffer: ({ bytesMax }): Promise<BodyRead> => {
      reads.push(bytesMax);
      return Promise.resolve(
        parts.body !== undefined && parts.body.byteLength > bytesMax
          ? { kind: 'too_large' }
          : { kind: 'body', bytes: parts.body ?? new Uint8Array() },
      );
    },
    ready: () => Promise.resolve(undefined),
    close: () => undefined,
    onGone: () => undefined,
    forward: (plan) => {
      plans.push(plan);
      return Promise.resolve(
        parts.answer?.(plan) ?? { kind: 'answered', response: new Response('ok'), end: 'complete' },
      );
    },
  };
}
