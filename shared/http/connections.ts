/** Whose a connection is, before anything was said on it. Pure. */

/**
 * Holder of a connection's share: the address, of IPv6 its /64, which is the least that one client has (RFC 6177).
 *
 * @param address - of the peer.
 */
export function holderOf(address: string): string {
  if (!address.includes(':') || address.startsWith('::ffff:')) return address;
  const [head = '', tail] = address.split('::');
  const groups = head.split(':');
  if (tail !== undefined) {
    const after = tail === '' ? [] : tail.split(':');
    while (groups.length + after.length < 8) groups.push('0');
    groups.push(...after);
  }
  return groups.slice(0, 4).join(':');
}
