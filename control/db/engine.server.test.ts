/** A libSQL server that goes away, hangs, loses answers or data, or is somebody else's: real ones, really killed. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { beforeEach, describe, test } from 'vitest';
import type { Problem } from '#shared/errors.ts';
import { systemClock, systemTimers, type Clock } from '#shared/runtime/clock.ts';
import { memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { Lossy } from '#shared/testing/lossy.node.ts';
import { noSqld, Sqld, type Scheme } from '#shared/testing/sqld.node.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { world } from '../testing/world.ts';
import { Database, type DatabaseOptions, type DatabaseServer } from './database.ts';
import { changes } from './schema.ts';

const SCHEMES: readonly Scheme[] = ['http', 'ws'];

interface Opened extends Partial<Omit<DatabaseOptions, 'server'>> {
  readonly server?: Partial<DatabaseServer>;
}

/** A database of platform `ours` at this address; `folder` is what the machine of the control plane keeps. */
function open(folder: TempFolder, url: string, { server, ...options }: Opened = {}): Promise<Database> {
  return Database.open({
    path: join(folder.path, 'control.db'),
    clock: systemClock,
    random: Math.random,
    randomId: () => crypto.randomUUID(),
    cluster: 'ours',
    ...options,
    server: { url, token: undefined, timers: systemTimers, log: memoryLog(), ...server },
  });
}

const bump = (db: Database, key: string): Promise<number> => db.write((tx) => tx.change('account', key));
const keysOf = async (db: Database): Promise<readonly string[]> =>
  (await db.read((orm) => orm.select().from(changes))).map(({ key }) => key);

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'done',
    (thrown: unknown) => (thrown as { code?: unknown }).code ?? thrown,
  );
}

/** Says that five seconds have passed each time it is asked: whoever waits has waited long enough at once. */
const hasty = (): Clock => {
  let nowMs = 0;
  return { wallMs: () => Date.now(), monotonicMs: () => (nowMs += 5_000) };
};

/** Says that no time has passed: whoever waits goes on, however busy the machine is. */
const patient: Clock = { wallMs: () => Date.now(), monotonicMs: () => 0 };

beforeEach(({ skip }) => {
  if (noSqld !== undefined) skip(noSqld);
});

for (const scheme of SCHEMES)
  describe(`a libSQL server over ${scheme}`, () => {
    test('that is killed under load, several times, loses no change that was answered and makes none twice', async ({
      expect,
    }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const db = await open(folder, sqld.url(scheme));
      const answered: string[] = [];
      const unknown: string[] = [];
      const stopping = new AbortController();
      const writer = async (name: string): Promise<void> => {
        for (let index = 0; !stopping.signal.aborted; index += 1) {
          const key = `${name}-${index}`;
          const code = await codeOf(bump(db, key));
          if (code === 'done') answered.push(key);
          else if (code === 'change_unknown') unknown.push(key);
          else expect(code).toBe('database_unreachable');
        }
      };
      const writers = Array.from({ length: 6 }, (_, index) => writer(`w${index}`));
      for (let round = 0; round < 5; round += 1) {
        const before = answered.length;
        await waitFor('changes to be answered', () => answered.length > before + 10);
        await sqld.kill();
        await sqld.start();
      }
      stopping.abort();
      await Promise.all(writers);
      await waitFor('the database to be back', () => keysOf(db));
      const keys = await keysOf(db);
      expect(new Set(keys).size).toBe(keys.length);
      expect(answered.filter((key) => !keys.includes(key))).toEqual([]);
      expect(keys.filter((key) => !answered.includes(key) && !unknown.includes(key))).toEqual([]);
      await db.close();
    });

    test('that is away is said to be, is asked again, and is served as soon as it is back', async ({
      expect,
    }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const log = memoryLog();
      await using w = await world({
        database: {
          cluster: 'ours',
          server: { url: sqld.url(scheme), token: undefined, timers: systemTimers, log },
        },
      });
      await w.publish('hello');
      const { revision } = w.deps.db;
      await sqld.kill();
      const away = await w.call<Problem>('GET', '/v1/accounts/default/functions');
      expect([away.status, away.body.code, away.headers.get('retry-after')]).toEqual([
        503,
        'database_unreachable',
        '2',
      ]);
      const refused = await w.publish('other');
      expect([refused.status, refused.body.code]).toEqual([503, 'database_unreachable']);
      const ready = await w.call<Problem>('GET', '/readyz', { anonymous: true });
      expect([ready.status, ready.body.code]).toEqual([503, 'database_unreachable']);
      // Nothing of what is said names the address.
      expect(JSON.stringify([away.body, refused.body, ready.body])).not.toContain(String(sqld.port));
      await sqld.start();
      await waitFor(
        'control to have found it',
        async () => (await w.call('GET', '/readyz', { anonymous: true })).status === 200,
      );
      expect(w.deps.db.revision).toBe(revision);
      expect((await w.publish('other')).status).toBe(201);
      expect(log.lines.map(({ event }) => event)).toEqual(['database_unreachable', 'database_back']);
    });

    test('that is restarted at once is not missed', async ({ expect }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const db = await open(folder, sqld.url(scheme), { clock: patient });
      await bump(db, 'before');
      await sqld.kill();
      const [write, read] = [bump(db, 'meanwhile'), keysOf(db)];
      await sqld.start();
      expect([await write, await codeOf(read)]).toEqual([2, 'done']);
      await db.close();
    });

    test('that accepts calls and answers none is given up in time, and used again when it answers', async ({
      expect,
    }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const db = await open(folder, sqld.url(scheme), { clock: hasty(), server: { timeoutMs: 700 } });
      await bump(db, 'a');
      sqld.pause();
      expect(await codeOf(keysOf(db))).toBe('database_unreachable');
      expect(await codeOf(bump(db, 'b'))).toBe('database_unreachable');
      sqld.resume();
      await waitFor('it to be used again', async () => (await codeOf(bump(db, 'c'))) === 'done');
      expect(await keysOf(db)).toEqual(['a', 'c']);
      await db.close();
    });

    test.for([
      ['whose answer to a commit is lost has made the change once', 'loseNextAnswer', 1],
      ['that never gets a commit is given the change again', 'loseNextRequest', 2],
    ] as const)('%s', async ([, lose, tries], { expect }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      await using lossy = await Lossy.start(sqld.port);
      const db = await open(folder, `${scheme}://127.0.0.1:${lossy.port}`, { clock: patient });
      let runs = 0;
      const revision = await db.write(async (tx) => {
        runs += 1;
        const made = await tx.change('account', 'once');
        if (runs === 1) lossy[lose]();
        return made;
      });
      expect([revision, runs, lossy.lost, db.revision]).toEqual([1, tries, 1, 1]);
      expect([await keysOf(db), await bump(db, 'next')]).toEqual([['once'], 2]);
      await db.close();
    });

    test('that is lost with the answer to a commit leaves it unknown, and what it was is learnt later', async ({
      expect,
    }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      await using lossy = await Lossy.start(sqld.port);
      const db = await open(folder, `${scheme}://127.0.0.1:${lossy.port}`, { clock: hasty() });
      const heard: number[] = [];
      db.onCommit((revision) => heard.push(revision));
      const outcome = db.write(async (tx) => {
        await tx.change('account', 'made');
        lossy.loseNextAnswer();
      });
      // No later call gets through.
      void waitFor('the answer to be lost', () => lossy.lost === 1).then(() => lossy.refuse());
      expect(await codeOf(outcome)).toBe('change_unknown');
      expect(await codeOf(bump(db, 'not'))).toBe('database_unreachable');
      lossy.accept();
      // Consumers of the feed hear of the change though nobody was told that it was made.
      await waitFor('the change to be learnt', () => heard.length > 0);
      expect([heard, await keysOf(db)]).toEqual([[1], ['made']]);
      expect(await bump(db, 'next')).toBe(2);
      await db.close();
    });

    test('that ends a transaction which takes too long is given it again', async ({ expect }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const db = await open(folder, sqld.url(scheme), { busyMs: 30_000 });
      const other = createClient({ url: sqld.url(scheme) });
      let runs = 0;
      const revision = await db.write(async (tx) => {
        runs += 1;
        // The server lets somebody else write once this one has been at it for 5 s.
        if (runs === 1) await other.execute("INSERT INTO meta (name, value) VALUES ('foreign', '1')");
        return tx.change('account', 'late');
      });
      other.close();
      expect([revision, runs, await keysOf(db)]).toEqual([1, 2, ['late']]);
      await db.close();
    });

    test('with the database of another platform is refused and left as it is', async ({ expect }) => {
      await using folder = await tempFolder();
      await using elsewhere = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const theirs = await open(folder, sqld.url(scheme), { cluster: 'theirs' });
      await bump(theirs, 'a');
      expect(await codeOf(open(elsewhere, sqld.url(scheme)))).toBe('database_foreign');
      // Nor has it taken it over.
      expect([await bump(theirs, 'b'), theirs.cluster]).toEqual([2, 'theirs']);
      await theirs.close();
    });

    test('is written by the control plane that opened it last; the other one reads, and says why', async ({
      expect,
    }) => {
      await using folder = await tempFolder();
      await using sqld = await Sqld.start(join(folder.path, 'sqld'));
      const first = await open(folder, sqld.url(scheme));
      await bump(first, 'a');
      const second = await open(folder, sqld.url(scheme));
      expect(await bump(second, 'b')).toBe(2);
      expect(await codeOf(bump(first, 'c'))).toBe('database_taken');
      expect([await keysOf(first), await bump(second, 'd')]).toEqual([['a', 'b'], 3]);
      await first.close();
      await second.close();
    });

    test('that came back with an older state is not written on', async ({ expect }) => {
      await using folder = await tempFolder();
      const [data, backup] = [join(folder.path, 'sqld'), join(folder.path, 'backup')];
      await using sqld = await Sqld.start(data);
      const db = await open(folder, sqld.url(scheme));
      await bump(db, 'a');
      await sqld.kill();
      await cp(data, backup, { recursive: true });
      await sqld.start();
      await bump(db, 'b');
      await sqld.kill();
      await rm(data, { recursive: true });
      await cp(backup, data, { recursive: true });
      await sqld.start();
      // Whether it was away for so short a time that nobody noticed …
      expect(await codeOf(bump(db, 'c'))).toBe('database_behind');
      await db.close();
      // … or is opened anew.
      expect(await codeOf(open(folder, sqld.url(scheme)))).toBe('database_behind');
    });

    test('that came back empty after a while is not taken for the one that went', async ({ expect }) => {
      await using folder = await tempFolder();
      const data = join(folder.path, 'sqld');
      await using sqld = await Sqld.start(data);
      const db = await open(folder, sqld.url(scheme), { clock: hasty() });
      await bump(db, 'a');
      await sqld.kill();
      expect(await codeOf(keysOf(db))).toBe('database_unreachable');
      await rm(data, { recursive: true });
      await sqld.start();
      await waitFor('it to be looked at', async () => (await codeOf(keysOf(db))) === 'database_missing');
      expect(await codeOf(bump(db, 'b'))).toBe('database_missing');
      await db.close();
    });
  });

describe('a libSQL server that wants a token', () => {
  const keys = generateKeyPairSync('ed25519');
  const token = (claims: object): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'EdDSA', typ: 'JWT' })}.${part(claims)}`;
    return `${text}.${sign(null, Buffer.from(text), keys.privateKey).toString('base64url')}`;
  };
  const SOON_S = Math.floor(Date.now() / 1_000) + 600;

  for (const scheme of SCHEMES)
    test(`over ${scheme} is told it, and a wrong, old, missing or read-only one is said to be refused`, async ({
      expect,
    }) => {
      await using folder = await tempFolder();
      const keyFile = join(folder.path, 'key.pem');
      await writeFile(keyFile, keys.publicKey.export({ type: 'spki', format: 'pem' }));
      await using sqld = await Sqld.start(join(folder.path, 'sqld'), ['--auth-jwt-key-file', keyFile]);
      const db = await open(folder, sqld.url(scheme), { server: { token: token({ a: 'rw', exp: SOON_S }) } });
      expect(await bump(db, 'a')).toBe(1);
      await db.close();
      for (const [what, wrong] of [
        ['none', undefined],
        ['garbage', 'garbage'],
        ['old', token({ a: 'rw', exp: SOON_S - 6_000 })],
        ['read-only', token({ a: 'ro', exp: SOON_S })],
      ] as const)
        expect([what, await codeOf(open(folder, sqld.url(scheme), { server: { token: wrong } }))]).toEqual([
          what,
          'database_refused',
        ]);
    });
});
