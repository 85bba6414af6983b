/** Whose a connection is. */
import { test } from 'vitest';
import { holderOf } from './connections.ts';

test('a client is its address, and of IPv6 a /64', ({ expect }) => {
  expect(
    ['192.0.2.1', '::ffff:192.0.2.1', '2001:db8::1', '2001:db8:0:0:5::2', '2001:db8:0:1::1', '::1'].map(
      holderOf,
    ),
  ).toEqual(['192.0.2.1', '::ffff:192.0.2.1', '2001:db8:0:0', '2001:db8:0:0', '2001:db8:0:1', ':0:0:0']);
});
