/** A {@link Call} made of plain values, for tests without sockets. */
import type { BodyRead, Call, ForwardOutcome, ForwardPlan } from '../ports.ts';

export interface FakeCallParts {
  readonly method?: string;
  readonly url?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer>;
  /** The client does not say how long its body is. */
  readonly chunked?: boolean;
  readonly answer?: (plan: ForwardPlan) => ForwardOutcome;
}

export function fakeCall(parts: FakeCallParts = {}): Call & {
  readonly plans: ForwardPlan[];
  /** Bounds of the body reads that were asked for. */
  readonly reads: readonly number[];
} {
  const url = new URL(parts.url ?? 'http://hello.localhost/');
  const plans: ForwardPlan[] = [];
  const reads: number[] = [];
  return {
    plans,
    reads,
    method: parts.method ?? 'GET',
    scheme: 'http',
    host: url.host,
    path: url.pathname,
    query: url.search,
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
