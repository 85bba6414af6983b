/**
 * The gateway as one Hono app: host and path → function version → who calls → a slot → the instance.
 *
 * A function of its dependencies, so it runs on Node (server.node.ts) and on workerd (worker.ts). One
 * handler and no middleware chain: each asynchronous layer of one costs as much as the routing itself.
 */
import { Hono, type Context, type Env } from 'hono';
import { asPlatformError, PlatformError, problemResponse } from '#shared/errors.ts';
import type { FeedItem, KeyItem } from '#shared/contracts/feed.ts';
import type { FeedState } from '#shared/feed/state.ts';
import { AMBIGUOUS_PATH } from '#shared/http/target.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Shares } from '#shared/shares.ts';
import type { NonceCache } from '#shared/signatures/replay.ts';
import { assetStep, isOpen, type StepDeps } from './assets/step.ts';
import { addChallenge, createAuthenticator, type Authenticate } from './auth/authenticator.ts';
import { authFor } from './auth/by-path.ts';
import type { KeyRing } from './auth/keys.ts';
import type { AuthOutcome } from './auth/outcome.ts';
import { addCors, preflight } from './cors.ts';
import { confineCookie } from './forward/cookies.ts';
import type { Behind, GatewayParts } from './invoke.ts';
import { Metrics } from './metrics.ts';
import type { AssetPort, Call } from './ports.ts';
import { hostName } from './routing/host.ts';
import { Router, type Target } from './routing/router.ts';
import { UsageMeters } from '#shared/usage/meter.ts';

export type Admitting = (real: Authenticate) => Authenticate;

export interface GatewayDeps<E extends Env, C extends Call> {
  readonly state: () => FeedState;
  /** Functions live at `<function>.<baseDomain>`. */
  readonly baseDomain: string;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly newRequestId: () => string;
  readonly nonces: NonceCache;
  /** Requests in hand, by the account that is called. */
  readonly requests: Shares;
  /** Wall time of the start, ms since the epoch: what was signed before it is refused (auth/signed.ts). */
  readonly startedMs: number;
  readonly keys: KeyRing;
  /** Absent in front of another gateway, which serves them. */
  readonly assets?: AssetPort;
  /** The host runtime's view of a request. Throws PlatformError for a head that must be refused. */
  readonly callOf: (context: Context<E>) => C;
  readonly behind: Behind<C>;
  readonly log: Log;
  /** Stands in front of the checks that targets ask for: `isoplane dev`. No setting of a gateway reaches it. */
  readonly admitting?: Admitting | undefined;
}

export interface Gateway<E extends Env> {
  readonly app: Hono<E>;
  readonly metrics: Metrics;
  readonly usage: UsageMeters;
  /** To be called after every change of the feed's state. */
  changed(items: readonly FeedItem[]): void;
}

/** 499 is nginx's word for it; nobody is there to read it. */
const NOBODY = { kind: 'verified', principal: undefined, claims: undefined } as const;
const CLIENT_GONE_STATUS = 499;
const CONTROL_RETRY_MS = 1_000;

export function createGateway<E extends Env, C extends Call>(deps: GatewayDeps<E, C>): Gateway<E> {
  const metrics = new Metrics();
  const router = new Router(deps);
  const findKey = (keyId: string) => deps.state().get('key', keyId);
  const real = createAuthenticator({
    clock: deps.clock,
    nonces: deps.nonces,
    keys: deps.keys,
    findKey,
    startedMs: deps.startedMs,
  });
  const authenticate = deps.admitting?.(real) ?? real;
  const usage = new UsageMeters();
  const deliver = deps.behind.deliverer(partsOf(deps.state, { metrics, usage, router, findKey }));

  const refuse = (thrown: unknown, requestId: string): Response => {
    const error = asPlatformError(thrown);
    metrics.count(error.code);
    if (error.code === 'internal') deps.log.error('request_failed', { requestId, error });
    if (error.code === 'response_invalid') deps.log.warn('response_refused', { requestId, error });
    return problemResponse(error, requestId);
  };

  const turnAway: TurnAway = ({ error, challenge }, { call, target, requestId }) =>
    addCors(addChallenge(refuse(error, requestId), challenge), target.version.cors, call);
  const judge = judgeOf({ authenticate, turnAway, metrics });
  const fromAssets = assetStep(deps.assets, { metrics, usage, judge });

  const serve = async (call: C, target: Target, requestId: string): Promise<Response> => {
    const { account } = target.functionItem;
    const { cors } = target.version;
    if (!deps.requests.take(account, 1))
      return addCors(refuse(deps.requests.full(account), requestId), cors, call);
    metrics.inFlight += 1;
    const startedMs = deps.clock.monotonicMs();
    try {
      const asked = cors === undefined ? undefined : preflight(cors, call);
      if (asked !== undefined) return asked;
      checkBodyBound(call, target);
      // What anyone may read is looked for before it is asked who calls.
      const open = isOpen(target.version, call.target);
      if (open) {
        const answer = await fromAssets(call, target, { requestId, anyone: true });
        if (answer !== undefined) return answer;
        // The gateway behind this one knows the files, and asks who calls where none of them answers.
        if (deps.behind.checksAgain)
          return (await deliver({ call, target, caller: NOBODY, requestId })) ?? goneResponse(metrics);
      }
      const verifying = authenticate(call, target);
      const auth = verifying instanceof Promise ? await verifying : verifying;
      if (auth.kind === 'refused') return turnAway(auth, { call, target, requestId });
      if (auth.kind === 'gone') return goneResponse(metrics);
      const file = open ? undefined : await fromAssets(call, target, { requestId, anyone: false });
      if (file !== undefined) return file;
      const caller = callerOf(auth, deps.behind.checksAgain);
      return (await deliver({ call, target, caller, requestId })) ?? goneResponse(metrics);
    } catch (thrown) {
      return addCors(refuse(thrown, requestId), cors, call);
    } finally {
      call.close();
      deps.requests.give(account, 1);
      metrics.inFlight -= 1;
      metrics.took(deps.clock.monotonicMs() - startedMs);
    }
  };

  const app = createApp(deps, router, { refuse, serve });
  const changed = (items: readonly FeedItem[]): void => {
    router.changed(items);
    deps.assets?.changed(items);
  };
  return { app, metrics, usage, changed };
}

interface Handlers<C> {
  readonly refuse: (thrown: unknown, requestId: string) => Response;
  readonly serve: (call: C, target: Target, requestId: string) => Promise<Response>;
}

function createApp<E extends Env, C extends Call>(
  deps: Pick<GatewayDeps<E, C>, 'newRequestId' | 'callOf' | 'state'>,
  router: Router,
  { refuse, serve }: Handlers<C>,
): Hono<E> {
  const app = new Hono<E>();
  app.onError((thrown) => refuse(thrown, deps.newRequestId()));
  app.all('*', function gateway(context) {
    // What a client sends as its request id is never used: ids in logs must be ours.
    const requestId = deps.newRequestId();
    let call: C | undefined;
    try {
      call = deps.callOf(context);
      const found = router.lookup(call.host, call.target);
      if (found.kind === 'bare') return bareHost(call, deps.state());
      if (found.kind === 'found') return serve(call, found.target, requestId);
      return refuse(missing(found.kind, deps.state()), requestId);
    } catch (thrown) {
      const response = refuse(thrown, requestId);
      // Where a head cannot be understood, nobody knows where the next one begins.
      if (call === undefined) response.headers.set('connection', 'close');
      return response;
    }
  });
  return app;
}

function partsOf(
  state: () => FeedState,
  parts: {
    readonly metrics: Metrics;
    readonly usage: UsageMeters;
    readonly router: Router;
    readonly findKey: (keyId: string) => KeyItem | undefined;
  },
): GatewayParts {
  const { metrics, usage, router, findKey } = parts;
  return {
    metrics,
    usage,
    retarget: (call, before) => {
      const found = router.lookup(call.host, call.target);
      if (found.kind !== 'found') throw missing(found.kind === 'bare' ? 'not_found' : found.kind, state());
      return asksTheSame(call, before, found.target) ? found.target : before;
    },
    isOurKey: (keyId) => findKey(keyId) !== undefined,
    confineCookie: (value, host, account) =>
      confineCookie(value, hostName(host), (domain) => router.ownsDomain(account, domain)),
  };
}

/** Whoever was let in by the rules of one version may be sent to another only if it would have asked him the same. */
function asksTheSame(call: Call, before: Target, now: Target): boolean {
  if (before.version === now.version) return true;
  const rulesOf = ({ functionItem, version }: Target): string =>
    JSON.stringify([functionItem.account, functionItem.name, authFor(version, call.target)]);
  return rulesOf(before) === rulesOf(now);
}

type TurnAway = (
  auth: Extract<AuthOutcome, { kind: 'refused' }>,
  about: { readonly call: Call; readonly target: Target; readonly requestId: string },
) => Response;

/** Judges by a rule beside that of the path that was asked for. */
function judgeOf(parts: {
  readonly authenticate: Authenticate;
  readonly turnAway: TurnAway;
  readonly metrics: Metrics;
}): StepDeps['judge'] {
  return async (call, target, { requestId, by }) => {
    const auth = await parts.authenticate(call, target, by);
    if (auth.kind === 'refused') return parts.turnAway(auth, { call, target, requestId });
    if (auth.kind === 'gone') return goneResponse(parts.metrics);
    callerOf(auth, false);
    return undefined;
  };
}

function goneResponse(metrics: Metrics): Response {
  metrics.count('client_gone');
  return new Response(null, { status: CLIENT_GONE_STATUS });
}

function callerOf(
  auth: Extract<AuthOutcome, { kind: 'verified' | 'deferred' }>,
  checksAgain: boolean,
): Extract<AuthOutcome, { kind: 'verified' }> {
  if (auth.kind === 'verified') return auth;
  if (checksAgain) return { kind: 'verified', principal: undefined, claims: undefined };
  throw new PlatformError(
    'internal',
    'the key-encryption key is missing, so hmac signatures cannot be checked',
  );
}

function checkBodyBound(call: Call, { version }: Target): void {
  const bound = version.limits.requestBodyBytes;
  if (call.bodyBytes !== undefined && call.bodyBytes > bound)
    throw new PlatformError('body_too_large', 'content-length is over the bound', {
      publicDetail: `This function accepts at most ${bound} bytes.`,
    });
}

/** Whoever has not heard control yet cannot say that there is no such function: it may be newer than the journal. */
function missing(kind: 'not_found' | 'disabled' | 'ambiguous', state: FeedState): PlatformError {
  if (kind === 'ambiguous')
    return new PlatformError('target_invalid', 'two readings of the path lead to two functions', {
      publicDetail: AMBIGUOUS_PATH,
    });
  if (!state.complete)
    return new PlatformError('control_unavailable', 'the state may be older than the function', {
      retryAfterMs: CONTROL_RETRY_MS,
    });
  return kind === 'disabled'
    ? new PlatformError('function_disabled', 'the function is disabled')
    : new PlatformError('function_not_found', 'no function or route for this host and path');
}

function bareHost(call: Call, state: FeedState): Response {
  if (call.target.path === '/healthz')
    return Response.json(
      { status: 'ok', revision: state.revision },
      { headers: { 'cache-control': 'no-store' } },
    );
  throw new PlatformError('function_not_found', 'the bare domain holds no function', {
    publicDetail: 'Functions are served at <function>.<domain>.',
  });
}
