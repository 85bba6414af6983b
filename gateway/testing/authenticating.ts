/** An authenticator over a state that stands, at a time that a test moves. */
import type { FeedItem } from '#shared/contracts/feed.ts';
import { Shares } from '#shared/shares.ts';
import { NonceCache } from '#shared/signatures/replay.ts';
import { FakeClock } from '#shared/testing/fakes.ts';
import { createAuthenticator } from '../auth/authenticator.ts';
import { createKeyRing } from '../auth/keys.ts';
import type { Call } from '../ports.ts';
import { Router } from '../routing/router.ts';
import { stateOf } from './items.ts';

export function setUp(
  items: readonly FeedItem[],
  noncesMax = 100,
  keys = createKeyRing(() => Promise.resolve(undefined)),
) {
  const clock = new FakeClock();
  const state = stateOf(items);
  const router = new Router({ state: () => state, baseDomain: 'localhost', random: () => 0 });
  const authenticate = createAuthenticator({
    clock,
    nonces: new NonceCache({ clock, shares: new Shares('gateway.nonces', { total: noncesMax }) }),
    keys,
    findKey: (id) => state.get('key', id),
    startedMs: 0,
  });
  const verdict = async (call: Call): Promise<string> => {
    const found = router.lookup(call.host, call.target);
    if (found.kind !== 'found') return found.kind;
    const outcome = await authenticate(call, found.target);
    return outcome.kind === 'refused'
      ? outcome.error.code
      : `${outcome.kind} ${'principal' in outcome ? outcome.principal : ''}`;
  };
  return { clock, state, router, authenticate, verdict };
}
