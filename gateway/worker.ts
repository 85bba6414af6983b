/**
 * The gateway as a Worker (wrangler.toml): on an edge network, or in miniflare, in front of a regional
 * gateway. It refuses what need not travel further: unknown hosts, wrong tokens and signatures, bodies
 * over their bound. The origin checks again, with the client's own credentials.
 *
 * Signatures under sealed hmac secrets cannot be checked here, because the key-encryption key stays home;
 * such requests pass to the origin.
 */
import { readLineSchema } from '#shared/feed/read.ts';
import { FeedState } from '#shared/feed/state.ts';
import { Lines } from '#shared/lines.ts';
import { PlatformError, problemResponse } from '#shared/errors.ts';
import { createLog } from '#shared/runtime/log.ts';
import { systemClock } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { NonceCache } from '#shared/signatures/replay.ts';
import { createGateway, type Gateway } from './app.ts';
import { createKeyRing } from './auth/keys.ts';
import { gatewayBehind, WebCall, type Origin } from './web-call.ts';

export interface WorkerBindings {
  readonly ORIGIN: Origin;
  readonly BASE_DOMAIN: string;
  /** A feed snapshot (shared/contracts/feed.ts) as JSON text or as a JSON binding. */
  readonly SNAPSHOT?: unknown;
  /** Answers `GET /internal/feed` like the control plane; used when there is no SNAPSHOT. */
  readonly CONTROL?: Origin;
}

interface WorkerEnv {
  Bindings: WorkerBindings;
}

/** How long a snapshot is used before it is asked for again. */
const SNAPSHOT_MS = 5_000;
/** Smaller than a regional gateway's: an isolate has 128 MB. */
const NONCES_MAX = 100_000;
const BODY_BYTES_MAX = 48 * 1024 * 1024;
const SNAPSHOT_BYTES_MAX = 32 * 1024 * 1024;

interface Running {
  readonly gateway: Gateway<WorkerEnv>;
  readonly state: FeedState;
  freshUntilMs: number;
}

/** One per isolate: nonces and verified tokens outlive a request. */
let running: Running | undefined;

function start(env: WorkerBindings): Running {
  const bodies = new Shares('gateway.bodies', { total: BODY_BYTES_MAX });
  const state = new FeedState();
  const gateway = createGateway<WorkerEnv, WebCall>({
    state: () => state,
    baseDomain: env.BASE_DOMAIN,
    clock: systemClock,
    random: Math.random,
    newRequestId: () => crypto.randomUUID(),
    nonces: new NonceCache({
      clock: systemClock,
      shares: new Shares('gateway.nonces', { total: NONCES_MAX }),
    }),
    // The origin checks again, and it knows when it started.
    startedMs: 0,
    requests: new Shares('gateway.requests'),
    keys: createKeyRing(() => Promise.resolve(undefined)),
    callOf: (context) => new WebCall(context.req.raw, context.env.ORIGIN, bodies),
    behind: gatewayBehind,
    // oxlint-disable-next-line no-console -- a Worker's log is its console
    log: createLog({ write: (line) => console.log(line), clock: systemClock }),
  });
  return { gateway, state, freshUntilMs: 0 };
}

async function refresh(current: Running, env: WorkerBindings): Promise<void> {
  const nowMs = systemClock.wallMs();
  if (nowMs < current.freshUntilMs) return;
  const snapshot = env.SNAPSHOT ?? (env.CONTROL === undefined ? undefined : await firstLine(env.CONTROL));
  const line = readLineSchema.parse(typeof snapshot === 'string' ? JSON.parse(snapshot) : snapshot);
  current.freshUntilMs = env.SNAPSHOT === undefined ? nowMs + SNAPSHOT_MS : Number.POSITIVE_INFINITY;
  if (line.type !== 'snapshot')
    throw new PlatformError('control_unavailable', 'the feed began without a snapshot');
  if (line.epoch === current.state.epoch && line.revision === current.state.revision) return;
  current.gateway.changed(current.state.apply(line));
}

/** The feed stays open; only its first line, the snapshot, is wanted. */
async function firstLine(control: Origin): Promise<string> {
  const response = await control.fetch(
    new Request('http://control/internal/feed?consumer=edge&role=gateway&from=0&epoch='),
  );
  const lines = new Lines();
  let bytes = 0;
  // Leaving the loop cancels the stream.
  for await (const chunk of response.body ?? []) {
    for (const line of lines.push(chunk)) return line;
    bytes += chunk.byteLength;
    if (bytes > SNAPSHOT_BYTES_MAX) break;
  }
  throw new PlatformError('control_unavailable', 'the feed ended within its first line');
}

// workerd takes the handlers from the default export.
export default {
  async fetch(request: Request, env: WorkerBindings): Promise<Response> {
    running ??= start(env);
    try {
      await refresh(running, env);
    } catch (thrown) {
      // With an older snapshot the edge goes on, as every other plane does.
      if (running.state.epoch === '')
        return problemResponse(
          new PlatformError('control_unavailable', 'no snapshot', {
            cause: thrown,
            retryAfterMs: SNAPSHOT_MS,
          }),
        );
    }
    return running.gateway.app.fetch(request, env);
  },
};
