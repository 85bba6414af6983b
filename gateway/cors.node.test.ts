/** Browsers on pages of other origins (Fetch standard, CORS protocol). */
import { afterEach, describe, test } from 'vitest';
import { corsSchema, originProblems } from '#shared/contracts/cors.ts';
import { startHarness, type Harness } from './testing/harness.node.ts';
import { functionItems, type FunctionParts } from './testing/items.ts';

let harness: Harness | undefined;
afterEach(async () => {
  await harness?.[Symbol.asyncDispose]();
  harness = undefined;
});

const APP = 'https://app.example.com';
const PREFLIGHT = {
  origin: APP,
  'access-control-request-method': 'PUT',
  'access-control-request-headers': 'authorization,x-own',
};

async function start(cors: FunctionParts['cors'], mode: 'signed' | 'public' = 'signed'): Promise<Harness> {
  harness = await startHarness(
    functionItems('hello', { auth: { mode }, ...(cors === undefined ? {} : { cors }) }),
  );
  await harness.instance((request, response) => {
    response.setHeader('access-control-allow-origin', 'https://own.example');
    response.end(request.method);
  });
  return harness;
}

function said(response: Response): Record<string, string> {
  return Object.fromEntries([...response.headers].filter(([name]) => /^access-control|^vary$/.test(name)));
}

describe('a preflight', () => {
  test('is answered without credentials and without the function', async ({ expect }) => {
    const gateway = await start({ origins: [APP] });
    const answer = await gateway.request('hello.localhost', { method: 'OPTIONS', headers: PREFLIGHT });
    expect([answer.status, gateway.script.acquires]).toEqual([204, []]);
    expect(said(answer)).toEqual({
      'access-control-allow-origin': APP,
      'access-control-allow-methods': 'PUT',
      'access-control-allow-headers': 'authorization,x-own',
      'access-control-max-age': '600',
      vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
    });
  });

  test('says what the configuration lists, and nothing to strangers', async ({ expect }) => {
    const gateway = await start({
      origins: [APP],
      methods: ['GET', 'POST'],
      headers: ['content-type'],
      credentials: true,
      maxAgeMs: 5_000,
    });
    const ask = async (origin: string): Promise<Record<string, string>> =>
      said(
        await gateway.request('hello.localhost', { method: 'OPTIONS', headers: { ...PREFLIGHT, origin } }),
      );
    expect(await ask(APP)).toMatchObject({
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-headers': 'content-type',
      'access-control-max-age': '5',
    });
    for (const origin of ['https://evil.example', `${APP}.evil.example`, 'http://app.example.com', 'null'])
      expect(Object.keys(await ask(origin))).toEqual(['vary']);
  });

  test('is the function’s own business where nothing is configured', async ({ expect }) => {
    const gateway = await start(undefined, 'public');
    const answer = await gateway.request('hello.localhost', { method: 'OPTIONS', headers: PREFLIGHT });
    expect(await answer.text()).toBe('OPTIONS');
  });
});

describe('an answer to another origin', () => {
  test('can be read by its scripts, refusals too', async ({ expect }) => {
    const headers = { origin: APP };
    const gateway = await start({ origins: [APP], exposedHeaders: ['x-total'] });
    const refused = await gateway.request('hello.localhost', { headers });
    expect([refused.status, said(refused)]).toEqual([
      401,
      {
        'access-control-allow-origin': APP,
        'access-control-expose-headers': expect.stringMatching(/isoplane-request-id.*x-total/),
        vary: 'Origin',
      },
    ]);
    await gateway[Symbol.asyncDispose]();
    const open = await start({ origins: ['*'] }, 'public');
    const answer = await open.request('hello.localhost', { headers });
    // Said once: the function's own word would make two, which browsers refuse.
    expect(said(answer)).toMatchObject({ 'access-control-allow-origin': '*' });
    expect(said(await open.request('hello.localhost'))).toEqual({});
  });
});

describe('an origin with a *', () => {
  test.for([
    ['https://*.example.com', 'https://a.example.com', true],
    ['https://*.example.com', 'https://a.b.example.com', true],
    ['http://*.localhost:8787', 'http://front.localhost:8787', true],
    ['https://*.example.com', 'https://example.com', false],
    ['https://*.example.com', 'http://a.example.com', false],
    ['https://*.example.com', 'https://a.example.com:8443', false],
    ['https://*.example.com', 'https://evilexample.com', false],
    ['https://*.example.com', 'https://.example.com', false],
    ['https://*.example.com', 'https://evil.test/.example.com', false],
    ['https://*.example.com', 'https://evil.test:80.example.com', false],
    ['https://*.example.com', 'https://user@a.example.com', false],
    ['https://*.example.com', 'null', false],
    ['https://a.*.com', 'https://a.b.com', false],
  ] as const)('%s lets %s in: %s', async ([entry, origin, isIn], { expect }) => {
    const gateway = await start({ origins: ['https://other.test', entry] }, 'public');
    const answer = await gateway.request('hello.localhost', { headers: { origin } });
    expect(said(answer)['access-control-allow-origin']).toBe(isIn ? origin : undefined);
    const asked = await gateway.request('hello.localhost', {
      method: 'OPTIONS',
      headers: { ...PREFLIGHT, origin },
    });
    expect(said(asked)['access-control-allow-origin']).toBe(isIn ? origin : undefined);
  });
});

describe('the configuration of cors', () => {
  test.for([
    ['http://localhost:5173/', 'write http://localhost:5173: an origin has no slash at its end'],
    ['https://App.example.com', 'write https://app.example.com, as browsers do'],
    ['https://app.example.com:443', 'write https://app.example.com, as browsers do'],
    ['https://app.example.com/page', 'write https://app.example.com, as browsers do'],
    ['app.example.com', 'an origin is a scheme and a host'],
    ['localhost:5173', 'an origin is a scheme and a host'],
  ] as const)('says of %s how it is written', ([origin, says], { expect }) => {
    const message = corsSchema.safeParse({ origins: [origin] }).error?.issues[0]?.message;
    expect(message).toContain(says);
  });

  test.for([
    'http://*',
    'https://a*.example.com',
    'https://*.*.example.com',
    'https://a.*.com',
    'http://*:80',
  ])(
    'says of %s what a * stands for, and still reads it in versions that were stored with it',
    (origin, { expect }) => {
      expect(originProblems([origin])).toEqual([
        { path: 'origins.0', message: expect.stringContaining('https://*.example.com') as string },
      ]);
    },
  );

  test.for([
    { origins: ['*'], credentials: true },
    { origins: ['app.example.com'] },
    { origins: ['https://app.example.com/'] },
    { origins: [] },
    { origins: [APP], methods: ['GET, POST'] },
    { origins: [APP], maxAgeMs: -1 },
  ])('refuses %j', (given, { expect }) => {
    expect(corsSchema.safeParse(given).success).toBe(false);
  });
});
