/** Who gets in, and the code each refusal has. Time stands unless a test moves it. */
import { randomBytes } from 'node:crypto';
import { exportJWK, exportPKCS8, generateKeyPair, importPKCS8, SignJWT, UnsecuredJWT } from 'jose';
import { describe, test } from 'vitest';
import type { Auth } from '#shared/contracts/config.ts';
import { jwkContext, jwksSchema } from '#shared/contracts/jwks.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { LIMITS } from '#shared/limits.ts';
import { toBase64Url } from '#shared/encoding.ts';
import { importKeyEncryptionKey, seal } from '#shared/seal.ts';
import type { FakeClock } from '#shared/testing/fakes.ts';
import type { Call } from '../ports.ts';
import { setUp } from '../testing/authenticating.ts';
import { fakeCall, type FakeCallParts } from '../testing/fake-call.ts';
import { functionItems } from '../testing/items.ts';
import { createKeyRing } from './keys.ts';

describe('mode jwt', async () => {
  const secret = randomBytes(32);
  const rsa = await generateKeyPair('RS256', { extractable: true });
  const ec = await generateKeyPair('ES256', { extractable: true });
  const ed = await generateKeyPair('EdDSA', { extractable: true });
  const publicRsa = await exportJWK(rsa.publicKey);
  const { keys } = jwksSchema.parse({
    keys: [
      { kty: 'oct', kid: 'hs', k: toBase64Url(secret) },
      { ...publicRsa, kid: 'rs' },
      { ...(await exportJWK(ec.publicKey)), kid: 'es' },
      { ...(await exportJWK(ed.publicKey)), kid: 'ed' },
    ],
  });
  const auth: Auth = { mode: 'jwt', jwks: { keys }, issuer: 'me', audience: 'hello' };
  const signers = { HS256: secret, RS256: rsa.privateKey, ES256: ec.privateKey, EdDSA: ed.privateKey };
  const kids = { HS256: 'hs', RS256: 'rs', ES256: 'es', EdDSA: 'ed' };

  interface TokenParts {
    readonly alg?: keyof typeof signers;
    readonly kid?: string | undefined;
    readonly claims?: Record<string, unknown>;
    readonly key?: Parameters<SignJWT['sign']>[0];
  }
  const bearer = async (clock: FakeClock, parts: TokenParts = {}): Promise<Call> => {
    const alg = parts.alg ?? 'EdDSA';
    const nowS = Math.floor(clock.wallMs() / 1000);
    const kid = 'kid' in parts ? parts.kid : kids[alg];
    const token = await new SignJWT({ iss: 'me', aud: 'hello', sub: 'ada', exp: nowS + 60, ...parts.claims })
      .setProtectedHeader({ alg, ...(kid === undefined ? {} : { kid }) })
      .sign(parts.key ?? signers[alg]);
    return fakeCall({ headers: { authorization: `Bearer ${token}` } });
  };

  test.for(['HS256', 'RS256', 'ES256', 'EdDSA'] as const)('accepts %s', async (alg, { expect }) => {
    const { clock, verdict } = setUp(functionItems('hello', { auth }));
    expect(await verdict(await bearer(clock, { alg }))).toBe('verified token:ada');
    expect(await verdict(await bearer(clock, { alg, kid: undefined }))).toBe('verified token:ada');
  });

  test.for([
    ['wrong audience', { claims: { aud: 'other' } }],
    ['wrong issuer', { claims: { iss: 'other' } }],
    ['no expiry', { claims: { exp: undefined } }],
    ['not yet valid', { claims: { nbf: 4_000_000_000 } }],
    ['unknown kid', { kid: 'nobody' }],
    ['another key', { alg: 'HS256', key: randomBytes(32) }],
    [
      'a public key as shared secret',
      { alg: 'HS256', kid: 'rs', key: new TextEncoder().encode(JSON.stringify(publicRsa)) },
    ],
    ['a kid of another type', { alg: 'HS256', kid: 'ed' }],
  ] as const)('refuses a token with %s', async ([, parts], { expect }) => {
    const { clock, verdict } = setUp(functionItems('hello', { auth }));
    expect(await verdict(await bearer(clock, parts))).toBe('token_invalid');
  });

  test('accepts the name that RFC 9864 gives to EdDSA, and RSA keys for each of their algorithms', async ({
    expect,
  }) => {
    const { clock, verdict } = setUp(functionItems('hello', { auth }));
    for (const [alg, kid, key] of [
      ['Ed25519', 'ed', ed.privateKey],
      ['PS256', 'rs', await importPKCS8(await exportPKCS8(rsa.privateKey), 'PS256')],
    ] as const) {
      const token = await new SignJWT({ iss: 'me', aud: 'hello', sub: 'ada' })
        .setProtectedHeader({ alg, kid })
        .setExpirationTime(Math.floor(clock.wallMs() / 1000) + 60)
        .sign(key);
      expect(await verdict(fakeCall({ headers: { authorization: `Bearer ${token}` } }))).toBe(
        'verified token:ada',
      );
    }
  });

  test('opens a sealed secret, and defers where it cannot', async ({ expect }) => {
    const kek = await importKeyEncryptionKey(toBase64Url(randomBytes(32)));
    const sealed = await seal(kek, secret, jwkContext('default'));
    const jwks = { keys: [{ kty: 'oct' as const, kid: 'hs', sealed }] };
    const items = functionItems('hello', { auth: { ...auth, jwks } });
    const here = setUp(
      items,
      100,
      createKeyRing(() => Promise.resolve(kek)),
    );
    expect(await here.verdict(await bearer(here.clock, { alg: 'HS256' }))).toBe('verified token:ada');
    expect(await here.verdict(await bearer(here.clock, { alg: 'HS256', key: randomBytes(32) }))).toBe(
      'token_invalid',
    );
    const edge = setUp(items);
    expect(await edge.verdict(await bearer(edge.clock, { alg: 'HS256' }))).toBe('deferred ');
  });

  test('refuses alg none, malformed and missing tokens', async ({ expect }) => {
    const { verdict } = setUp(functionItems('hello', { auth }));
    const none = new UnsecuredJWT({ iss: 'me', aud: 'hello' }).setExpirationTime('1h').encode();
    for (const authorization of [
      `Bearer ${none}`,
      'Bearer a.b.c',
      'Bearer',
      'Basic abc',
      `Bearer ${'a'.repeat(9_000)}.b.c`,
    ])
      expect(await verdict(fakeCall({ headers: { authorization } }))).toBe('token_invalid');
    expect(await verdict(fakeCall())).toBe('token_missing');
  });

  test('remembers a token until it expires, and no longer', async ({ expect }) => {
    const { clock, verdict } = setUp(functionItems('hello', { auth }));
    const call = await bearer(clock);
    expect(await verdict(call)).toBe('verified token:ada');
    clock.advance(60_000);
    expect(await verdict(call)).toBe('verified token:ada');
    clock.advance(6_000);
    expect(await verdict(call)).toBe('token_expired');
  });

  test('answers a remembered token without waiting, and forgets it with its keys', async ({ expect }) => {
    const { clock, state, router, authenticate, verdict } = setUp(functionItems('hello', { auth }));
    const call = await bearer(clock, { alg: 'HS256' });
    expect(await verdict(call)).toBe('verified token:ada');
    const found = router.lookup(call.host, call.target);
    expect(found.kind === 'found' && authenticate(call, found.target)).toMatchObject({ kind: 'verified' });
    const replaced: Auth = { ...auth, jwks: { keys: keys.slice(1) } };
    router.changed(
      state.apply({ type: 'delta', revision: 2, items: functionItems('hello', { auth: replaced }) }),
    );
    expect(await verdict(call)).toBe('token_invalid');
  });

  test("uses the account's issuer when the function has no keys of its own", async ({ expect }) => {
    const { clock, state, router, verdict } = setUp(
      functionItems('hello', { auth: { mode: 'jwt', audience: 'hello' } }),
    );
    expect(await verdict(await bearer(clock))).toBe('token_invalid');
    const value = { name: 'default', issuer: { issuer: 'me', jwks: { keys } } };
    const items = [{ kind: 'account', key: 'default', value }] as unknown as FeedItem[];
    router.changed(state.apply({ type: 'delta', revision: 2, items }));
    expect(await verdict(await bearer(clock))).toBe('verified token:ada');
    expect(await verdict(await bearer(clock, { claims: { iss: 'you' } }))).toBe('token_invalid');
  });
});

describe('a caller of mode jwt', () => {
  const secret = randomBytes(32);
  const jwks = { keys: [{ kty: 'oct' as const, k: toBase64Url(secret), alg: 'HS256' }] };
  const auth: Auth = { mode: 'jwt', jwks, audience: 'app', tokenQuery: 'access_token' };
  const tokenOf = (clock: FakeClock, subject?: string, audience = 'app'): Promise<string> => {
    const token = new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setAudience(audience);
    if (subject !== undefined) token.setSubject(subject);
    return token.setExpirationTime(Math.floor(clock.wallMs() / 1000) + 60).sign(secret);
  };
  const bearing = (token: string): FakeCallParts => ({ headers: { authorization: `Bearer ${token}` } });

  test('has a name that no other caller has, whatever its subject holds', async ({ expect }) => {
    const { clock, verdict } = setUp(functionItems('hello', { auth }));
    const named = async (subject: string): Promise<string> =>
      verdict(fakeCall(bearing(await tokenOf(clock, subject))));
    const longest = 'x'.repeat(LIMITS.principalBytesMax - 'token:'.length);
    const names = await Promise.all(
      ['é', '%C3%A9', 'e\u0301', 'function:acct/x', 'key:k1', ' a', 'a\u0000', '', longest].map(named),
    );
    expect(names.slice(0, 8)).toEqual([
      'verified token:%C3%A9',
      'verified token:%25C3%25A9',
      'verified token:e%CC%81',
      'verified token:function:acct/x',
      'verified token:key:k1',
      'verified token:%20a',
      'verified token:a%00',
      'verified token:',
    ]);
    expect(names[8]).toBe(`verified token:${longest}`);
    expect(await named(`${longest}x`)).toBe('token_invalid');
  });

  test('hears what is wrong with a token that is too long, or none', async ({ expect }) => {
    const { authenticate, router } = setUp(functionItems('hello', { auth }));
    const reason = async (headers: Record<string, string>): Promise<string | undefined> => {
      const call = fakeCall({ headers });
      const found = router.lookup(call.host, call.target);
      const outcome = found.kind === 'found' ? await authenticate(call, found.target) : undefined;
      return outcome?.kind === 'refused' ? outcome.error.publicDetail : outcome?.kind;
    };
    const long = (length: number): string => `Bearer ${'a'.repeat(length - 4)}.b.c`;
    expect(await reason({ authorization: long(8_192) })).toBe('the token cannot be verified');
    expect(await reason({ authorization: long(8_193) })).toBe(
      'the token is too long: at most 8192 characters',
    );
    expect(await reason({ authorization: 'Basic eA==' })).toMatch(/holds no bearer token/);
    expect(await reason({ authorization: 'Bearer x' })).toMatch(/not a JWT/);
    expect(await reason({})).toBe('no Authorization header');
  });

  test('may bring the token where no header can be set, and the function does not see it there', async ({
    expect,
  }) => {
    const { clock, authenticate, router, verdict } = setUp(functionItems('hello', { auth }));
    const token = await tokenOf(clock, 'ada');
    const outcomeOf = async (parts: FakeCallParts): Promise<unknown> => {
      const call = fakeCall(parts);
      const found = router.lookup(call.host, call.target);
      return found.kind === 'found' ? authenticate(call, found.target) : undefined;
    };
    const socket = {
      upgrades: true,
      headers: { 'sec-websocket-protocol': `chat, isoplane.bearer, ${token}` },
    };
    expect(await outcomeOf(socket)).toMatchObject({
      kind: 'verified',
      principal: 'token:ada',
      hidden: { kind: 'subprotocol', rest: 'chat' },
    });
    const url = `http://hello.localhost/?a=1&access_token=${token}&b=2`;
    expect(await outcomeOf({ url })).toMatchObject({ hidden: { kind: 'query', query: '?a=1&b=2' } });
    // Remembered or not, it is hidden.
    expect(await outcomeOf({ url: `http://hello.localhost/?access_token=${token}` })).toMatchObject({
      principal: 'token:ada',
      hidden: { kind: 'query', query: '' },
    });
    for (const parts of [
      { ...socket, upgrades: false },
      { url, method: 'POST' },
      { url: `${url}&access_token=x` },
      { url: url.replace('access_token', 'token') },
    ])
      expect(await verdict(fakeCall(parts))).toBe('token_missing');
    expect(await verdict(fakeCall({ url, headers: { authorization: 'Bearer x.y.z' } }))).toBe(
      'token_invalid',
    );
  });

  test('needs the token that its path asks for, also when another was remembered', async ({ expect }) => {
    const admin: Auth = { mode: 'jwt', jwks, audience: 'admin' };
    const { clock, verdict } = setUp(
      functionItems('hello', { auth, authByPath: [{ path: '/admin/*', auth: admin }] }),
    );
    const token = await tokenOf(clock, 'ada');
    const at = (path: string): Promise<string> =>
      verdict(fakeCall({ ...bearing(token), url: `http://hello.localhost${path}` }));
    expect([await at('/'), await at('/admin'), await at('/')]).toEqual([
      'verified token:ada',
      'token_invalid',
      'verified token:ada',
    ]);
  });
});
