/**
 * The list of bad input that the platform must survive, and the test that covers each item.
 *
 * Goal: nothing on the list is forgotten or loses its test. Method: each row names a test, which must exist.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { repositoryRoot } from '../support/paths.ts';

const UPLOADS = 'test/e2e/bad-uploads.test.ts';
const REQUESTS = 'test/e2e/bad-requests.test.ts';
const CODE = 'test/e2e/bad-code.test.ts';
const EGRESS = 'nodes/attachments/egress/egress.test.ts';
const PROXY = 'nodes/attachments/egress/proxy.test.ts';
const DATABASE = 'control/db/engine.server.test.ts';
const BUCKET = 'control/blobs/bucket.test.ts';
const DURABILITY = 'test/e2e/durability.test.ts';

const COVERED: readonly (readonly [item: string, file: string, test: string])[] = [
  ['bundle too large', UPLOADS, 'the bundle is too large'],
  ['module that does not parse', UPLOADS, 'a module does not parse'],
  [
    'module that throws at start-up',
    UPLOADS,
    'the module throws at start, with the stack and without moving live',
  ],
  ['missing layer', UPLOADS, 'a layer does not exist'],
  ['unknown compatibility flag', UPLOADS, 'a compatibility flag is unknown'],
  ['unknown compatibility date', UPLOADS, 'the compatibility date is in the future or no date'],
  ['python_workers', UPLOADS, 'python_workers is asked for'],
  ['experimental flags', UPLOADS, 'a compatibility flag is experimental'],
  ['duplicate names', UPLOADS, 'are accepted once: a duplicate name is refused'],
  ['env over the size limit', UPLOADS, 'the variables are too large'],
  ['path traversal in module names', UPLOADS, 'a module name walks out of its folder'],
  ['wrong signature: key', REQUESTS, 'of a key that nobody registered is refused'],
  ['wrong signature: request', REQUESTS, 'made for another path, method or host is refused'],
  ['wrong signature: body', REQUESTS, 'does not cover another body'],
  ['expired signature', REQUESTS, 'that has expired is refused'],
  ['replayed signature', REQUESTS, 'that was used before is refused as a replay'],
  ['not-yet-valid signature', REQUESTS, 'that is not yet valid is refused'],
  ['JWT with alg none', REQUESTS, 'with alg none is refused'],
  ['JWT with wrong audience', REQUESTS, 'for another audience is refused'],
  ['JWT with unknown kid', REQUESTS, 'with an unknown kid is refused'],
  ['request body over the limit', REQUESTS, 'at the limit passes, one byte over it is refused'],
  ['request body over the limit, streamed', REQUESTS, 'of unknown length is counted while it streams'],
  ['header smuggling: duplicate content-length', REQUESTS, 'two different content lengths'],
  ['header smuggling: TE and CL', REQUESTS, 'both length headers'],
  ['header smuggling: control characters', REQUESTS, 'a control character in a name'],
  ['endless loop', CODE, 'loops for ever is stopped as cpu_exceeded, and serves again'],
  ['memory hog', CODE, 'fills its heap is stopped as memory_exceeded'],
  ['function that never answers', CODE, 'does not answer in time is answered timeout'],
  ['function that crashes its process', CODE, 'crashes its own process takes nothing else along'],
  ['process that is lost', CODE, 'loses its process is answered crashed'],
  ['name that rebinds', EGRESS, 'a name that rebinds is connected where it was judged, and refused after'],
  ['redirect to a private address', EGRESS, 'a redirect to a private address is refused at the second hop'],
  ['private address in another spelling', PROXY, 'a private address in hexadecimal'],
  [
    'subrequests without end',
    EGRESS,
    'the last subrequest that is allowed works, one more does not, the next request starts anew',
  ],
  [
    'connections without end',
    EGRESS,
    'the last connection that is allowed works, one more does not, idle ones make room',
  ],
  ['headers smuggled to targets', PROXY, 'two framings'],
  [
    'forged internal headers on outbound requests',
    EGRESS,
    'reaches http and https targets, with their own Host and nothing of the platform',
  ],
  ['log flood', CODE, 'floods its log answers, and the log says what was dropped'],
  [
    'disk full while publishing',
    'control/publish/publish.test.ts',
    'a full disk at any write answers storage_full, changes nothing, and the same publish works later',
  ],
  ['corrupted blob', DURABILITY, 'reports a corrupted blob as such, and only for the function it belongs to'],
  [
    'corrupted database',
    DURABILITY,
    'refuses to start on a corrupted database, and starts on the restored one',
  ],
  [
    'locked database',
    DURABILITY,
    'answers database_busy while somebody holds the database, and works when it is free',
  ],
  ['port in use', DURABILITY, 'says which port is in use'],
  ['two platforms on one data folder', DURABILITY, 'refuses a second platform on its data folder'],
  [
    'kill -9 during publish',
    DURABILITY,
    'serves every acknowledged deploy after the next start, also when killed during a publish',
  ],
  [
    'clock jumping back',
    'shared/signatures/signatures.test.ts',
    'never accepts a replay after the clock jumped back',
  ],
  [
    'database of another platform',
    DATABASE,
    'with the database of another platform is refused and left as it is',
  ],
  [
    'two control planes on one database',
    DATABASE,
    'is written by the control plane that opened it last; the other one reads, and says why',
  ],
  ['database server with an older state', DATABASE, 'that came back with an older state is not written on'],
  [
    'database server that answers nothing',
    DATABASE,
    'that accepts calls and answers none is given up in time, and used again when it answers',
  ],
  ['bucket of another platform', BUCKET, 'belongs to the platform that began on it'],
  [
    'bucket that is not there',
    BUCKET,
    'that is not there is missing, and one that was in use is not begun anew',
  ],
];

/** Names of tests in a source: first arguments of `test(`, and the first strings of rows of a case table. */
function testNames(source: string): Set<string> {
  return new Set(
    [...source.matchAll(/(?:\btest\(\s*|^\s*\[\s*)'([^'\n]+)'/gm)].map((match) => match[1] ?? ''),
  );
}

describe('the list of bad input', () => {
  test('names something', ({ expect }) => {
    expect(COVERED.length).toBeGreaterThan(30);
    expect(new Set(COVERED.map(([item]) => item)).size).toBe(COVERED.length);
  });

  for (const [item, file, name] of COVERED)
    test(`${item}: has its test`, async ({ expect }) => {
      const source = await readFile(join(repositoryRoot, file), 'utf8');
      expect([...testNames(source)], `${file} has no test of that name`).toContain(name);
      expect(source, 'a covering test must not be skipped').not.toMatch(
        /\b(?:test|describe)\.(?:skip|skipIf|runIf|todo|only|fails)\b/,
      );
    });
});
