/** Who the client is behind proxies, and how far cookies reach. */
import { describe, test } from 'vitest';
import { confineCookie } from './cookies.ts';
import { TrustedProxies } from './proxies.node.ts';

const proxies = new TrustedProxies(['10.0.0.0/8', '::1', '2001:db8::/32']);

describe('a client behind proxies', () => {
  const from = (peer: string, headers: Readonly<Record<string, string>>): readonly unknown[] => {
    const { address, scheme, host } = proxies.clientOf(peer, Object.entries(headers).flat());
    return [address, scheme, host];
  };

  test('is the peer when the peer is nobody in particular, whatever it says', ({ expect }) => {
    const lies = { 'x-forwarded-for': '1.1.1.1', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'x' };
    expect(from('192.0.2.1', lies)).toEqual(['192.0.2.1', 'http', undefined]);
    expect(from('::ffff:192.0.2.1', lies)).toEqual(['192.0.2.1', 'http', undefined]);
    expect(new TrustedProxies([]).clientOf('10.0.0.1', Object.entries(lies).flat()).address).toBe('10.0.0.1');
  });

  test('is the nearest address that no trusted proxy has', ({ expect }) => {
    const headers = { 'x-forwarded-for': '6.6.6.6, 192.0.2.7, 10.1.1.1', 'X-Forwarded-Proto': 'https' };
    expect(from('10.0.0.1', headers)).toEqual(['192.0.2.7', 'https', undefined]);
    expect(from('::ffff:10.0.0.1', headers)[0]).toBe('192.0.2.7');
    expect(from('::1', { 'x-forwarded-for': '10.1.1.1' })[0]).toBe('10.1.1.1');
    expect(from('2001:db8::9', { 'x-forwarded-for': '[2001:db9::1]:443' })[0]).toBe('2001:db9::1');
    expect(from('10.0.0.1', { 'x-forwarded-for': '192.0.2.7:1234' })[0]).toBe('192.0.2.7');
  });

  test('stays the last one known where a proxy hides the rest', ({ expect }) => {
    expect(from('10.0.0.1', { 'x-forwarded-for': 'evil, unknown' })[0]).toBe('10.0.0.1');
    expect(from('10.0.0.1', {})).toEqual(['10.0.0.1', 'http', undefined]);
  });

  test('has the scheme and host that the proxy next to it saw', ({ expect }) => {
    const headers = {
      'x-forwarded-for': '192.0.2.7, 10.1.1.1',
      'x-forwarded-proto': 'https, http',
      'x-forwarded-host': 'shop.test, inner',
    };
    expect(from('10.0.0.1', headers)).toEqual(['192.0.2.7', 'https', 'shop.test']);
    // The client wrote the first value, the proxy the second.
    expect(from('10.0.0.1', { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'https, http' })[1]).toBe(
      'http',
    );
    expect(from('10.0.0.1', { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-proto': 'gopher' })[1]).toBe(
      'http',
    );
  });

  test.for(['shop.test:65536', 'a b', 'a/b'])(
    'has the host of its request where a proxy says %j',
    (host, { expect }) => {
      const headers = { 'x-forwarded-for': '192.0.2.7', 'x-forwarded-host': host };
      expect(from('10.0.0.1', headers)[2]).toBeUndefined();
    },
  );

  test('may be told by Forwarded instead, where the operator says so', ({ expect }) => {
    const standard = new TrustedProxies(['10.0.0.0/8'], 'forwarded');
    const read = (forwarded: string): unknown => standard.clientOf('10.0.0.1', ['Forwarded', forwarded]);
    expect(
      read('for=6.6.6.6;proto=http, For="[2001:db8::1]:80";Proto=https;host="a.test", for=10.2.2.2'),
    ).toEqual({
      address: '2001:db8::1',
      scheme: 'https',
      host: 'a.test',
    });
    expect(read('for="unclosed')).toEqual({ address: '10.0.0.1', scheme: 'http', host: undefined });
    expect(read('for=_hidden;proto=https')).toMatchObject({ address: '10.0.0.1', scheme: 'https' });
    expect(standard.clientOf('10.0.0.1', ['x-forwarded-for', '6.6.6.6']).address).toBe('10.0.0.1');
  });

  test.for(['10.0.0.0/33', '10.0.0', 'proxy.test', '10.0.0.0/', '::1/129', '1.1.1.1/8/8'])(
    'is not looked for behind %j, which is no address',
    (cidr, { expect }) => {
      expect(() => new TrustedProxies([cidr])).toThrow(cidr);
    },
  );
});

describe('a cookie', () => {
  const owned = new Set(['shop.test', 'hello.localhost']);
  const confined = (value: string, host = 'hello.localhost'): string =>
    confineCookie(value, host, (domain) => owned.has(domain));

  test('of the own host, or of one below it, stays as it is', ({ expect }) => {
    for (const value of [
      'a=b',
      'a=domain=x; Path=/',
      'a=b; Domain=hello.localhost; Secure',
      'a=b;domain=.HELLO.localhost',
    ])
      expect(confined(value)).toBe(value);
    expect(confined('a=b; Domain=shop.test', 'www.shop.test')).toBe('a=b; Domain=shop.test');
  });

  test.for([
    ['a=b; Domain=localhost; Path=/', 'a=b; Path=/'],
    ['a=b; domain = .localhost ', 'a=b'],
    ['a=b; Domain=hello.localhost; Domain=localhost', 'a=b; Domain=hello.localhost'],
    ['a=b; Domain=other.localhost', 'a=b'],
    ['a=b; Domain=', 'a=b'],
  ] as const)('%j becomes %j', ([given, expected], { expect }) => {
    expect(confined(given)).toBe(expected);
  });

  test.for([
    ['spaces within its domain', `a=b; Domain=x${' '.repeat(400_000)}y`, 'a=b'],
    ['spaces before it', `a=b;${' '.repeat(400_000)}domain=localhost; Secure`, 'a=b; Secure'],
    ['spaces and no domain', `a=domain=b;${' '.repeat(400_000)}x`, undefined],
    ['attributes', `a=b${'; domain '.repeat(50_000)}; domain=x`, `a=b${'; domain '.repeat(50_000)}`],
    ['domains', `a=b${'; domain=.x'.repeat(40_000)}`, 'a=b'],
  ] as const)('of hundreds of thousands of %s is read in one pass', ([, given, expected], { expect }) => {
    // A search that goes back for each character would need minutes.
    expect(confined(given) === (expected ?? given)).toBe(true);
  });

  test('for the domain of others becomes one of the own host', ({ expect }) => {
    expect(confined('a=b; Domain=common.test', 'a.common.test')).toBe('a=b');
  });

  test('for the own host becomes one of that host alone where others have hosts below it', ({ expect }) => {
    expect(confined('a=b; Domain=common.test; Secure', 'common.test')).toBe('a=b; Secure');
  });
});
