/** Rules, targets and headers: pure values in, pure values out; the negative space first. */
import { describe, test } from 'vitest';
import { egressRulesSchema, hostPatternSchema } from '#shared/contracts/egress.ts';
import { headerOf, requestHeaders, responseHeaders } from './headers.ts';
import { compileRules } from './rules.ts';
import { parseConnect, parseTarget } from './target.ts';

const rules = (value: object): ReturnType<typeof compileRules> =>
  compileRules(egressRulesSchema.parse(value));

describe('compileRules()', () => {
  test('nothing is allowed without a rule', ({ expect }) => {
    expect(rules({ allow: [] }).allows('example.com', 443)).toBe(false);
  });

  test('a host without a port is meant for 80 and 443', ({ expect }) => {
    const { allows } = rules({ allow: ['api.example.com'] });
    const ports = [1, 79, 80, 81, 442, 443, 444, 65_535].filter((port) => allows('api.example.com', port));
    expect(ports).toEqual([80, 443]);
    for (const host of [
      'example.com',
      'xapi.example.com',
      'api.example.com.evil.net',
      'a.api.example.com',
      '',
    ])
      expect(allows(host, 443), host).toBe(false);
  });

  test('a port narrows, a star widens', ({ expect }) => {
    expect([80, 443, 8080].filter((port) => rules({ allow: ['a.b:8080'] }).allows('a.b', port))).toEqual([
      8080,
    ]);
    expect([80, 443, 8080].filter((port) => rules({ allow: ['a.b:*'] }).allows('a.b', port))).toEqual([
      80, 443, 8080,
    ]);
  });

  test('a wildcard means subdomains at any depth, not the domain, not look-alikes, not addresses', ({
    expect,
  }) => {
    const { allows } = rules({ allow: ['*.example.com', '*.1'] });
    const hosts = [
      'a.example.com',
      'a.b.example.com',
      'example.com',
      'aexample.com',
      '.example.com',
      '127.0.0.1',
    ];
    expect(hosts.filter((host) => allows(host, 443))).toEqual(['a.example.com', 'a.b.example.com']);
  });

  test('deny wins over allow, at every port unless it names one, for addresses too', ({ expect }) => {
    const { allows, deniesAddress } = rules({ allow: ['*:*'], deny: ['evil.com', 'b.com:81', '8.8.8.8'] });
    expect([
      allows('evil.com', 443),
      allows('evil.com', 9),
      allows('b.com', 81),
      allows('b.com', 80),
      allows('good.com', 1),
    ]).toEqual([false, false, false, true, true]);
    expect([deniesAddress('8.8.8.8', 53), deniesAddress('8.8.4.4', 53)]).toEqual([true, false]);
  });

  test('literals are compared in one spelling', ({ expect }) => {
    const { allows } = rules({ allow: ['[2001:db8::1]', '127.1:5'] });
    expect([allows('2001:db8::1', 443), allows('127.0.0.1', 5)]).toEqual([true, true]);
  });

  test('any pattern allows just what matches it, over 2,000 made-up hosts', ({ expect }) => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed % below;
    };
    const label = (): string => ['a', 'b', 'aa', 'x-y'][random(4)] ?? 'a';
    const name = (): string => Array.from({ length: 1 + random(4) }, label).join('.');
    for (let round = 0; round < 2_000; round += 1) {
      const [base, host, wild] = [name(), name(), random(2) === 1];
      const pattern = hostPatternSchema.parse(wild ? `*.${base}` : base);
      const [inside, asked] = [base.split('.'), host.split('.')];
      const suffix = asked.slice(-inside.length).join('.') === base;
      const expected = wild ? suffix && asked.length > inside.length : host === base;
      expect(rules({ allow: [pattern] }).allows(host, 443), `${pattern} ${host}`).toBe(expected);
      expect(rules({ allow: ['*'], deny: [pattern] }).allows(host, 443), `not ${pattern} ${host}`).toBe(
        !expected,
      );
    }
  });

  test('a header goes out over TLS unless its rule names a port', ({ expect }) => {
    const header = (host: string): object => ({ host, header: 'x-key', secret: 'key' });
    const { headersFor } = rules({ headers: [header('a.com'), header('b.com:8080'), header('*.c.com:*')] });
    const sent = (host: string, port: number, tls: boolean): boolean =>
      headersFor({ host, port, tls }).length > 0;
    expect([sent('a.com', 443, true), sent('a.com', 80, false), sent('a.com', 8443, true)]).toEqual([
      true,
      false,
      false,
    ]);
    expect([sent('b.com', 8080, false), sent('b.com', 443, true)]).toEqual([true, false]);
    expect([sent('x.c.com', 9, true), sent('x.c.com', 9, false), sent('other.com', 443, true)]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe('parseTarget()', () => {
  test.for([
    ['/relative', 'only http'],
    ['ftp://a.b/', 'only http'],
    ['file:///etc/passwd', 'only http'],
    ['http://', 'not valid'],
    ['http://a:b@c.d/', 'user name'],
    ['http://user@c.d/', 'user name'],
    ['http://a..b/', 'host is not valid'],
    ['http://a.b:99999/', 'not valid'],
    ['http://[::1/', 'not valid'],
    ['http://a%00b/', 'not valid'],
    [`http://${'a.'.repeat(130)}com/`, 'host is not valid'],
  ])('refuses %s', ([url, reason], { expect }) => {
    expect(parseTarget(url ?? '')).toEqual({
      kind: 'refused',
      reason: expect.stringContaining(reason ?? ''),
    });
  });

  test.for([
    ['http://0x7f.1/', '127.0.0.1'],
    ['http://2130706433/', '127.0.0.1'],
    ['http://127.1/', '127.0.0.1'],
    ['http://017700000001/', '127.0.0.1'],
    ['http://127.0.0.1./', '127.0.0.1'],
    ['http://EXAMPLE.com./', 'example.com'],
    ['http://ｅｘａｍｐｌｅ.com/', 'example.com'],
    ['http://[::FFFF:127.0.0.1]/', '::ffff:7f00:1'],
    ['http://evil.com\\@good.com/', 'evil.com'],
  ])('reads the host of %s as %s', ([url, host], { expect }) => {
    expect(parseTarget(url ?? '')).toMatchObject({ kind: 'target', target: { host } });
  });

  test('keeps path and query and names the authority as URLs do', ({ expect }) => {
    expect(parseTarget('https://a.b:8443/p%20q?x=1#gone')).toEqual({
      kind: 'target',
      target: {
        tls: true,
        host: 'a.b',
        port: 8443,
        origin: 'https://a.b:8443',
        authority: 'a.b:8443',
        path: '/p%20q?x=1',
      },
    });
    expect(parseTarget('https://a.b:443')).toMatchObject({
      target: { authority: 'a.b', port: 443, path: '/' },
    });
  });
});

describe('parseConnect()', () => {
  test('reads host:port in one spelling and refuses everything else', ({ expect }) => {
    expect(parseConnect('0x7f.1:80')).toEqual({ kind: 'target', target: { host: '127.0.0.1', port: 80 } });
    expect(parseConnect('[::1]:80')).toEqual({ kind: 'target', target: { host: '::1', port: 80 } });
    for (const text of [
      '',
      'a.b',
      'a.b:',
      'a.b:0',
      'a.b:65536',
      ':80',
      'http://a.b:80',
      'u@a.b:80',
      'a b:80',
      '::1:80',
    ])
      expect(parseConnect(text).kind, text).toBe('refused');
  });
});

describe('headers', () => {
  const raw = [
    ['Host', 'evil.example'],
    ['Connection', 'close, X-Hop'],
    ['X-Hop', '1'],
    ['Keep-Alive', '5'],
    ['TE', 'trailers'],
    ['Trailer', 'x'],
    ['Transfer-Encoding', 'chunked'],
    ['Upgrade', 'h2c'],
    ['Expect', '100-continue'],
    ['Proxy-Authorization', 'x'],
    ['Proxy-Anything', 'x'],
    ['ISOPLANE-Request-Id', 'x'],
    ['X-Key', 'forged'],
    ['Accept', 'a'],
    ['Accept', 'b'],
  ].flat();

  test('requests lose what is between neighbours, get the host and what the owner adds', ({ expect }) => {
    expect(requestHeaders(raw, 'a.b', [{ name: 'x-key', value: 'secret' }])).toEqual([
      'host',
      'a.b',
      'Accept',
      'a',
      'Accept',
      'b',
      'x-key',
      'secret',
    ]);
  });

  test('responses lose the same', ({ expect }) => {
    expect(
      responseHeaders(['isoplane-egress-error', 'x', 'Connection', 'x-a', 'X-A', '1', 'set-cookie', 'c']),
    ).toEqual(['set-cookie', 'c']);
    // Behind its length Node would write other bytes for this one.
    expect(responseHeaders(['Content-Length', '1', 'Content-Disposition', '\u00e6'])).toEqual([
      'Content-Disposition',
      '\u00e6',
      'content-length',
      '1',
    ]);
  });

  test('headerOf() finds the first, whatever its case', ({ expect }) => {
    expect([headerOf(raw, 'accept'), headerOf(raw, 'none')]).toEqual(['a', undefined]);
  });
});
