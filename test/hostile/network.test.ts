/**
 * Goal: no function reaches the machine or its neighbourhood over the network. Method: all forms of address
 * against a victim that counts, with rules that allow everything else; where there is a proxy, a hostile
 * server and a hostile name server help.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { EGRESS_ATTACKS, NETWORK } from './network.ts';
import { attackSuite } from './suite.ts';
import { Relay, Victim } from './victim.ts';

let victim: Victim;
let relay: Relay;

beforeAll(async () => {
  victim = await Victim.open();
  relay = await Relay.open();
});
afterAll(async () => {
  await victim?.[Symbol.asyncDispose]();
  await relay?.[Symbol.asyncDispose]();
});

attackSuite('a way out by', [...NETWORK, ...EGRESS_ATTACKS], {
  pace: 'together',
  prepare: () => ({
    platform: {
      egressAllowPrivate: [`127.0.0.1:${relay.port}`],
      settings: { ISOPLANE_EGRESS_DNS: relay.dnsAddress },
    },
    heard: () => relay.heard,
    facts: { victimPort: victim.port, relayPort: relay.port },
  }),
});

describe('the victim', () => {
  test('was never visited', ({ expect }) => {
    expect(victim.visits).toEqual([]);
  });

  test('would have noticed', async ({ expect }) => {
    const answer = await fetch(`http://127.0.0.1:${victim.port}/`);
    expect(await answer.text()).toBe('victim');
    expect(victim.visits.length).toBeGreaterThan(0);
  });
});
