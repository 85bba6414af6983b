/** One account's uploads, and what another can still do. */
import { readdir } from 'node:fs/promises';
import { describe, test } from 'vitest';
import type { Problem } from '#shared/errors.ts';
import { FakeClock, waitFor } from '#shared/testing/fakes.ts';
import { cleanBlobs } from '../blobs/clean.ts';
import { sha256 } from '../blobs/store.ts';
import { multipart, publishParts, scriptedNode, world, type World } from '../testing/world.ts';

const PATH = '/v1/accounts/hostile/functions/f/versions';
const MIB = 1_048_576;

async function blobs(w: World): Promise<string[]> {
  const found: string[] = [];
  for (const folder of await readdir(`${w.folder}/blobs`))
    for (const rest of await readdir(`${w.folder}/blobs/${folder}`)) found.push(folder + rest);
  return found;
}

/** A request whose body the test feeds. */
function fed(w: World, token: string, contentType: string) {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  const answer = w.app.request(
    new Request(`http://127.0.0.1:8788${PATH}`, {
      method: 'POST',
      body,
      duplex: 'half',
      headers: { authorization: `Bearer ${token}`, 'content-type': contentType, host: '127.0.0.1:8788' },
    }),
  );
  return {
    answer: Promise.resolve(answer),
    feed: (bytes: Uint8Array) => controller?.enqueue(bytes),
    end: () => controller?.close(),
  };
}

describe('a hostile account', () => {
  test('whose 24 uploads loop at their start keeps nobody from publishing', async ({ expect }) => {
    const node = scriptedNode();
    const ends: (() => void)[] = [];
    node.onCheck = ({ id }) =>
      id.startsWith('hostile/')
        ? new Promise((resolve) => ends.push(() => resolve({ ok: false, message: 'looped', logs: [] })))
        : Promise.resolve({ ok: true, startMs: 1 });
    await using w = await world({ nodes: [node] });
    const { token } = await w.token('owner', { account: 'hostile' });
    const hostile = Array.from({ length: 24 }, (_, index) =>
      w.publish(`f${index}`, { 'main.js': `for(;;); // ${index}` }, { account: 'hostile', call: { token } }),
    );
    await waitFor('both of its permits', () => ends.length === 2);
    expect((await w.publish('good')).status).toBe(201);
    expect(ends).toHaveLength(2);
    let answered = 0;
    for (const one of hostile) void one.then(() => (answered += 1));
    await waitFor('all to be tried', () => {
      for (const end of ends.splice(0)) end();
      return answered === 24;
    });
    // Nothing of them stays but the one that was published.
    expect(await blobs(w)).toEqual([sha256(new TextEncoder().encode('export default {} // good'))]);
  });

  test('that uploads slowly holds no permit, and is let go', async ({ expect }) => {
    const clock = new FakeClock();
    await using w = await world({ clock, timers: clock });
    const { token } = await w.token('owner', { account: 'hostile' });
    const uploads = [1, 2, 3, 4].map(() => fed(w, token, 'multipart/form-data; boundary=x'));
    for (const { feed } of uploads) feed(new TextEncoder().encode('--x\r\n'));
    await waitFor('all to be read', () => w.deps.shares.requests.heldBy('hostile') === 4);
    expect((await w.publish('good')).status).toBe(201);
    let answered = 0;
    for (const { answer } of uploads) void answer.then(() => (answered += 1));
    await waitFor('all to be let go', () => {
      clock.advance(1_000);
      return answered === 4;
    });
    const problem = (await (await uploads[0]!.answer).json()) as Problem;
    expect(problem).toMatchObject({ status: 408, code: 'body_too_slow' });
    expect([w.deps.shares.requests.used, w.deps.shares.uploads.used]).toEqual([0, 0]);
  });

  test('that uploads in one-byte chunks costs its bytes on disk and no memory', async ({ expect }) => {
    await using w = await world();
    const { token } = await w.token('owner', { account: 'hostile' });
    const text = `export default {} // ${'x'.repeat(200_000)}`;
    const { raw, contentType } = await multipart(publishParts({ 'main.js': text }));
    const upload = fed(w, token, contentType);
    for (let at = 0; at < raw.byteLength; at += 1) upload.feed(raw.subarray(at, at + 1));
    upload.end();
    expect((await upload.answer).status).toBe(201);
    expect(await blobs(w)).toEqual([sha256(new TextEncoder().encode(text))]);
    expect([w.deps.shares.uploads.used, w.deps.shares.bodies.used]).toEqual([0, 0]);
  });

  test('at the bound of its uploads is told so, and the other goes on', async ({ expect }) => {
    await using w = await world();
    const { token } = await w.token('owner', { account: 'hostile' });
    const { uploads } = w.deps.shares;
    while (uploads.take('hostile', MIB));
    const refused = await w.publish(
      'f',
      { 'main.js': 'x'.repeat(2 * MIB) },
      { account: 'hostile', call: { token } },
    );
    expect([refused.status, refused.body.code]).toEqual([429, 'share_full']);
    expect((await w.publish('good', { 'main.js': `//${'x'.repeat(2 * MIB)}` })).status).toBe(201);
  });
});

test('at the bound of API requests in hand an account is told so, and the other goes on', async ({
  expect,
}) => {
  await using w = await world();
  const { token } = await w.token('owner', { account: 'hostile' });
  const { requests } = w.deps.shares;
  while (requests.take('hostile', 1));
  const refused = await w.call<Problem>('GET', '/v1/accounts/hostile/functions', { token });
  expect([refused.status, refused.body.code]).toEqual([429, 'share_full']);
  expect((await w.call('GET', '/v1/accounts/default/functions')).status).toBe(200);
});

describe('blobs', () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const failing = () => {
    const node = scriptedNode();
    node.onCheck = ({ modules }) =>
      Promise.resolve(
        modules.some(({ name }) => name === 'bad.js')
          ? { ok: false, message: 'no', logs: [] }
          : { ok: true, startMs: 1 },
      );
    return node;
  };

  test('of a refused upload go, but not those that another version has too', async ({ expect }) => {
    await using w = await world({ nodes: [failing()] });
    await w.publish('hello', { 'main.js': 'shared' });
    const refused = await w.publish('hello', { 'main.js': 'shared', 'bad.js': 'own' });
    expect(refused.body.code).toBe('publish_startup_failed');
    expect(await blobs(w)).toEqual([sha256(bytes('shared'))]);
  });

  test('that two uploads store at once stay when one of them is published', async ({ expect }) => {
    await using w = await world({ nodes: [failing()] });
    for (let round = 0; round < 5; round += 1)
      await Promise.all([
        w.publish(`good-${round}`, { 'main.js': `same ${round}` }),
        w.publish(`bad-${round}`, { 'main.js': `same ${round}`, 'bad.js': 'own' }),
      ]);
    const same = [0, 1, 2, 3, 4].map((round) => sha256(bytes(`same ${round}`)));
    expect((await blobs(w)).sort()).toEqual(same.sort());
  });

  test('of deleted versions are cleaned, those of layers and source maps stay', async ({ expect }) => {
    await using w = await world();
    await w.layer('lib', { 'lib.js': 'layered' });
    await w.publish('hello', { 'main.js': 'first' }, { maps: { 'main.js': '{}' } });
    await w.publish('hello', { 'main.js': 'second' });
    await w.publish('hello', { 'main.js': 'third' });
    await w.call('DELETE', '/v1/accounts/default/functions/hello/versions/2');
    await cleanBlobs(w.deps);
    expect((await blobs(w)).sort()).toEqual(
      ['layered', 'first', '{}', 'third'].map((text) => sha256(bytes(text))).sort(),
    );
  });

  test('are all kept while the database names none', async ({ expect }) => {
    await using w = await world();
    const lease = w.deps.blobs.lease();
    await lease.put(sha256(bytes('x')), bytes('x'));
    await lease.keepWhen(Promise.resolve());
    await lease[Symbol.asyncDispose]();
    await cleanBlobs(w.deps);
    expect(await blobs(w)).toEqual([sha256(bytes('x'))]);
  });

  test('that are published while the store is cleaned stay', async ({ expect }) => {
    await using w = await world();
    await w.publish('hello', { 'main.js': 'first' });
    for (let round = 0; round < 10; round += 1) {
      const file = { 'main.js': `round ${round}` };
      const gone = await w.publish('gone', file);
      await w.call('DELETE', '/v1/accounts/default/functions/gone');
      const [again] = await Promise.all([w.publish('hello', file), cleanBlobs(w.deps)]);
      expect([gone.status, again.status]).toEqual([201, 201]);
      const digest = sha256(bytes(`round ${round}`));
      expect((await w.internal.request(`/internal/blobs/${digest}`)).status, `round ${round}`).toBe(200);
    }
  });
});
