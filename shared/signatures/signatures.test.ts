/** Signing and verifying: the RFC's own vector, a round trip, and every refusal. Wall time is an argument. */
import { describe, test } from 'vitest';
import { LIMITS } from '../limits.ts';
import { type InnerList, parseDictionary } from 'structured-headers';
import { FakeClock } from '../testing/fakes.ts';
import { fromBase64Url, toBase64Url } from '../seal.ts';
import { normalAuthority, requestHead, signatureBase } from './components.ts';
import { Shares } from '../shares.ts';
import { NonceCache } from './replay.ts';
import { contentDigest, importSigningKey, signRequest, type SigningKey } from './sign.ts';
import {
  digestMatches,
  importEd25519,
  importHmac,
  parseSignatures,
  signingKeyIds,
  verifySignature,
} from './verify.ts';

const NOW_MS = 1_700_000_000_000;
const BODY = new TextEncoder().encode('{"hello": "world"}');
const SECRET = toBase64Url(new TextEncoder().encode('a shared secret of thirty-two by'));

async function hmacKey(): Promise<SigningKey> {
  return importSigningKey({ keyId: 'k1', algorithm: 'hmac-sha256', secret: SECRET });
}

async function signedHead(
  url: string,
  overrides: {
    method?: string;
    body?: Uint8Array<ArrayBuffer>;
    nowMs?: number;
    ttlMs?: number;
    headers?: Record<string, string>;
  } = {},
) {
  const request = {
    method: overrides.method ?? 'GET',
    url,
    ...(overrides.body === undefined ? {} : { body: overrides.body }),
  };
  const added = await signRequest(request, await hmacKey(), {
    nowMs: overrides.nowMs ?? NOW_MS,
    nonce: 'n1',
    ...(overrides.ttlMs === undefined ? {} : { ttlMs: overrides.ttlMs }),
  });
  return requestHead(request.method, url, { ...added, ...overrides.headers });
}

describe('the vector of RFC 9421 appendix B.2.6', () => {
  const head = requestHead('POST', 'http://example.com/foo?param=Value&Pet=dog', {
    date: 'Tue, 20 Apr 2021 02:07:55 GMT',
    'content-type': 'application/json',
    'content-length': '18',
  });
  const input =
    'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"';

  test('verifies with the published key', async ({ expect }) => {
    const built = signatureBase(head, parseDictionary(input).get('sig-b26') as InnerList);
    const base = 'base' in built ? built.base : '';
    const key = await importEd25519('JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs');
    const signature = fromBase64Url(
      'wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw',
    );
    expect(await key.verify(new TextEncoder().encode(base), signature)).toBe(true);
    expect(await key.verify(new TextEncoder().encode(`${base} `), signature)).toBe(false);
  });
});

describe('signRequest() and verifySignature()', () => {
  test('round-trip with ed25519 and a generated key', async ({ expect }) => {
    const pair = (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as {
      privateKey: never;
      publicKey: never;
    };
    const secret = toBase64Url(new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey)));
    const publicKey = toBase64Url(new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)));
    const url = 'http://hello.localhost:8787/a?b=c';
    const added = await signRequest(
      { method: 'POST', url, body: BODY },
      await importSigningKey({ keyId: 'k', algorithm: 'ed25519', secret }),
      { nowMs: NOW_MS },
    );
    const outcome = parseSignatures(requestHead('POST', url, added), NOW_MS);
    if (outcome.kind !== 'parsed') throw new Error(outcome.reason);
    expect(await verifySignature(outcome.signatures[0]!, await importEd25519(publicKey))).toBe(true);
    expect(outcome.signatures[0]!.coversDigest).toBe(true);
  });

  test.for([
    ['another method', 'PUT', 'http://f.localhost/a?b=c'],
    ['another host', 'GET', 'http://g.localhost/a?b=c'],
    ['another path', 'GET', 'http://f.localhost/A?b=c'],
    ['another query', 'GET', 'http://f.localhost/a?b=d'],
  ] as const)('do not verify for %s', async ([, method, url], { expect }) => {
    const added = await signRequest({ method: 'GET', url: 'http://f.localhost/a?b=c' }, await hmacKey(), {
      nowMs: NOW_MS,
    });
    const outcome = parseSignatures(requestHead(method, url, added), NOW_MS);
    if (outcome.kind !== 'parsed') throw new Error(outcome.reason);
    expect(await verifySignature(outcome.signatures[0]!, await importHmac(fromBase64Url(SECRET)))).toBe(
      false,
    );
  });

  test('do not verify when the signature claims an algorithm that is not the key’s', async ({ expect }) => {
    const outcome = parseSignatures(await signedHead('http://f.localhost/'), NOW_MS);
    if (outcome.kind !== 'parsed') throw new Error(outcome.reason);
    const key = await importHmac(fromBase64Url(SECRET));
    expect(await verifySignature(outcome.signatures[0]!, key)).toBe(true);
    expect(await verifySignature({ ...outcome.signatures[0]!, algorithm: 'ed25519' }, key)).toBe(false);
  });
});

describe('parseSignatures()', () => {
  const code = async (head: Promise<ReturnType<typeof requestHead>>, nowMs = NOW_MS) => {
    const outcome = parseSignatures(await head, nowMs);
    return outcome.kind === 'refused' ? outcome.code : 'parsed';
  };
  const url = 'http://f.localhost/a?b=c';
  const withInput = async (change: (input: string) => string) => {
    const added = await signRequest({ method: 'GET', url }, await hmacKey(), { nowMs: NOW_MS });
    return requestHead('GET', url, { ...added, 'signature-input': change(added['signature-input'] ?? '') });
  };

  test('refuses a request without a signature', async ({ expect }) => {
    expect(await code(Promise.resolve(requestHead('GET', url, {})))).toBe('signature_missing');
  });
  test('accepts until the last millisecond and refuses at the instant of expiry', async ({ expect }) => {
    expect(await code(signedHead(url, { ttlMs: 60_000 }), NOW_MS + 59_999)).toBe('parsed');
    expect(await code(signedHead(url, { ttlMs: 60_000 }), NOW_MS + 60_000)).toBe('signature_expired');
  });
  test('bounds the life of a signature whatever it claims', async ({ expect }) => {
    const forADay = () => signedHead(url, { ttlMs: 86_400_000 });
    expect(await code(forADay(), NOW_MS + LIMITS.signatureAgeMsMax - 1)).toBe('parsed');
    expect(await code(forADay(), NOW_MS + LIMITS.signatureAgeMsMax)).toBe('signature_expired');
  });
  test('allows a little skew and refuses one from the future', async ({ expect }) => {
    expect(await code(signedHead(url), NOW_MS - LIMITS.signatureSkewMs)).toBe('parsed');
    expect(await code(signedHead(url), NOW_MS - LIMITS.signatureSkewMs - 1)).toBe('signature_not_yet_valid');
  });
  test('bounds the nonce, which is kept until the signature is too old', async ({ expect }) => {
    const withNonce = (length: number) =>
      withInput((input) => input.replace(/;nonce="[^"]*"/, `;nonce="${'n'.repeat(length)}"`));
    expect(await code(withNonce(LIMITS.nonceBytesMax))).toBe('parsed');
    expect(await code(withNonce(LIMITS.nonceBytesMax + 1))).toBe('signature_invalid');
  });
  test.for([
    ['no created', (input: string) => input.replace(/;created=\d+/, '')],
    ['no nonce', (input: string) => input.replace(/;nonce="[^"]*"/, '')],
    ['no keyid', (input: string) => input.replace(/;keyid="[^"]*"/, '')],
    ['an uncovered authority', (input: string) => input.replace('"@authority" ', '')],
    ['an uncovered query', (input: string) => input.replace(' "@query"', '')],
    ['a component twice', (input: string) => input.replace('"@path"', '"@path" "@path"')],
    ['component parameters', (input: string) => input.replace('"@path"', '"@path";sf')],
    ['a component that is absent', (input: string) => input.replace('"@path"', '"@path" "x-absent"')],
    ['two signatures', (input: string) => `${input}, other=("@method");created=1`],
    ['no structured field', () => '((('],
    ['an oversized header', (input: string) => input + ' '.repeat(5_000)],
  ] as const)('refuses %s', async ([, change], { expect }) => {
    expect(await code(withInput(change))).toBe('signature_invalid');
  });
});

describe('a request with several signatures', () => {
  const url = 'http://f.localhost/a';
  test('speaks by each that is right, in their order, and is refused when none is', async ({ expect }) => {
    const added = await signRequest({ method: 'GET', url }, await hmacKey(), { nowMs: NOW_MS });
    const head = (first: string): ReturnType<typeof requestHead> =>
      requestHead('GET', url, {
        'signature-input': `${first}, ${added['signature-input']}`,
        signature: `proxy=:AAAA:, ${added['signature']}`,
      });
    // What proxies add covers other things, such as the signature of the client (RFC 9421 section 4.3).
    const outcome = parseSignatures(head('proxy=("signature";key="isoplane");created=1;keyid="p"'), NOW_MS);
    expect(outcome.kind === 'parsed' && outcome.signatures.map(({ keyId }) => keyId)).toEqual(['k1']);
    expect(signingKeyIds(head('proxy=("@method");keyid="p"'))).toEqual(['p', 'k1']);
    const input = Array.from({ length: 5 }, (_, index) => `s${index}=("@method")`).join(', ');
    expect(
      parseSignatures(requestHead('GET', url, { 'signature-input': input, signature: input }), NOW_MS),
    ).toMatchObject({ kind: 'refused', code: 'signature_invalid' });
  });
});

describe('the components of a target', () => {
  const covered = (name: string): InnerList =>
    parseDictionary(`s=("${name}");created=1`).get('s') as InnerList;
  const baseOf = (name: string, target: string): string | undefined => {
    const head = { ...requestHead('GET', 'https://www.example.com/', {}), target };
    const built = signatureBase(head, covered(name));
    return 'base' in built ? built.base.split('\n')[0] : undefined;
  };

  test.for([
    // RFC 9421 sections 2.2.2 and 2.2.5 to 2.2.7.
    ['@target-uri', '/path?param=value', '"@target-uri": https://www.example.com/path?param=value'],
    ['@request-target', '/path?param=value', '"@request-target": /path?param=value'],
    [
      '@request-target',
      'https://www.example.com/path?param=value',
      '"@request-target": https://www.example.com/path?param=value',
    ],
    ['@path', 'https://www.example.com/path?a', '"@path": /path'],
    ['@path', 'https://www.example.com', '"@path": /'],
    ['@query', '/path?param=value&foo=bar&baz=bat%2Dman', '"@query": ?param=value&foo=bar&baz=bat%2Dman'],
    ['@query', '/path', '"@query": ?'],
    // A lone question mark is part of the target, whatever it says.
    ['@request-target', '/a?', '"@request-target": /a?'],
    ['@target-uri', '/a?', '"@target-uri": https://www.example.com/a?'],
    ['@query', '/a?', '"@query": ?'],
    // Before anything is decoded.
    ['@path', '/%61/../b%7e', '"@path": /%61/../b%7e'],
  ] as const)('%s of %s', ([name, target, line], { expect }) => {
    expect(baseOf(name, target)).toBe(line);
  });

  test('are those that the signer wrote, a lone question mark included', ({ expect }) => {
    expect([
      requestHead('GET', 'http://f/a?', {}).target,
      requestHead('GET', 'http://f/a#b', {}).target,
    ]).toEqual(['/a?', '/a']);
  });
});

describe('digestMatches()', () => {
  test('takes sha-512 and ignores what is not active (RFC 9530)', async ({ expect }) => {
    const of512 = Buffer.from(await crypto.subtle.digest('SHA-512', BODY)).toString('base64');
    const of256 = await contentDigest(BODY);
    expect(await digestMatches(`sha-512=:${of512}:`, BODY)).toBe(true);
    expect(await digestMatches(`${of256}, sha-512=:${of512}:, md5=:AAAA:`, BODY)).toBe(true);
    expect(await digestMatches(`${of256}, sha-512=:AAAA:`, BODY)).toBe(false);
    expect(await digestMatches('sha-256=1', BODY)).toBe(false);
  });

  test('compares the body with its sha-256', async ({ expect }) => {
    const header = await contentDigest(BODY);
    expect(await digestMatches(header, BODY)).toBe(true);
    expect(await digestMatches(header, new TextEncoder().encode('{}'))).toBe(false);
    expect(await digestMatches('md5=:AAAA:', BODY)).toBe(false);
    expect(await digestMatches('not a dictionary ===', BODY)).toBe(false);
  });
});

describe('normalAuthority()', () => {
  test('drops the default port only', ({ expect }) => {
    expect([
      normalAuthority('F.localhost:80', 'http'),
      normalAuthority('f.localhost:8080', 'http'),
      normalAuthority('f:443', 'https'),
    ]).toEqual(['f.localhost', 'f.localhost:8080', 'f']);
  });
});

describe('NonceCache', () => {
  const cache = (total = 100) => {
    const clock = new FakeClock(1_000_000);
    const nonces = new NonceCache({ clock, shares: new Shares('gateway.nonces', { total }) });
    const claim = (keyId: string, nonce: string, expiresMs: number): string =>
      nonces.claim({ account: 'a', keyId }, nonce, expiresMs).kind;
    return { clock, nonces, claim };
  };
  test('accepts a nonce once per key', ({ expect }) => {
    const { clock, claim } = cache();
    const expires = clock.wallMs() + 60_000;
    expect([claim('k', 'n', expires), claim('k', 'n', expires), claim('other', 'n', expires)]).toEqual([
      'fresh',
      'replayed',
      'fresh',
    ]);
  });
  test('refuses when full instead of forgetting, and recovers when entries age', ({ expect }) => {
    const { clock, nonces, claim } = cache(8);
    const ask = (nonce: string) => claim('k', nonce, clock.wallMs() + 1_000);
    expect([ask('a'), ask('b'), ask('c'), ask('a')]).toEqual(['fresh', 'fresh', 'full', 'replayed']);
    clock.advance(100_000);
    expect([ask('c'), nonces.size]).toEqual(['fresh', 1]);
  });
  test('never accepts a replay after the clock jumped back', ({ expect }) => {
    for (const jumpMs of [1_000, 59_000, 61_000, 3_600_000]) {
      const { clock, claim } = cache();
      const expires = clock.wallMs() + 60_000;
      expect(claim('k', 'n', expires)).toBe('fresh');
      // The signature dies and its nonce is forgotten; other traffic goes on.
      clock.advance(200_000);
      claim('k', 'm', clock.wallMs() + 60_000);
      clock.jumpWall(-jumpMs - 200_000);
      expect(claim('k', 'n', expires), `jump of ${jumpMs} ms`).not.toBe('fresh');
    }
  });
});
