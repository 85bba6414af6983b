/**
 * Goal: no bound that accounts share goes undivided unnoticed. Method: find every bound in the source of the planes;
 * each must be classed here, each class that says `shared` must name an entry of the list, and each entry of the
 * list must be used by the code.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { SHARED } from '#shared/shared-things.ts';
import { repositoryRoot } from '../support/paths.ts';
import { boundsOf, readBounds, type BoundClass } from './bounds.ts';
import { sourceFiles } from './imports.ts';

/** By file: whose each of its bounds is. A file with one class for all has it alone. */
const CLASSES: Readonly<Record<string, BoundClass | Readonly<Record<string, BoundClass>>>> = {
  'control/api/operation.ts': 'one',
  'control/app.ts': 'one',
  'control/blobs/bucket.ts': {
    ATTEMPTS_MAX: 'one',
    OBJECT_BYTES_MAX: 'one',
    TRANSFERS_MAX: 'process: whoever waits was let in by control.requests, or is a plane',
    WAITING_MAX: 'process: whoever waits was let in by control.requests, or is a plane',
    'new Semaphore': 'process: whoever waits was let in by control.requests, or is a plane',
  },
  'control/blobs/clean.ts': 'process: rows of one query',
  'control/assets/plan.ts': 'one',
  'control/assets/publish.ts': 'one',
  'control/assets/store.ts': 'one',
  'control/db/aliases.ts': 'one',
  'control/db/blobs.ts': 'process: rows of one statement',
  'control/db/database.ts': 'process: whoever waits was let in by control.requests, or is a plane',
  'control/db/kv.ts': 'one',
  'control/db/secrets.ts': 'one',
  'control/feed/consumers.ts': {
    ACKS_KEPT: 'one',
    COMMITS_KEPT: 'process: instants of commits, the oldest go',
    CONSUMERS_MAX: 'process: planes, not accounts',
    WAITERS_MAX: 'shared control.requests',
  },
  'control/feed/hub.ts': 'process: planes, not accounts',
  'control/json.ts': 'one',
  'control/logs/merge.ts': 'one',
  'control/logs/map-index.ts': 'one',
  'control/logs/json-fields.ts': 'one',
  'control/logs/source-maps.ts': 'one',
  'control/planes.ts': 'process: planes, not accounts',
  'control/publish/upload.ts': 'one',
  'control/plane.ts': 'one',
  'control/validation.ts': 'one',
  'gateway/auth/jwt.ts': 'text',
  'gateway/server.node.ts': 'one',
  'shared/http/fetch-failure.ts': 'text',
  'shared/http/head.ts': 'text',
  'shared/http/plain/head.ts': 'one',
  'shared/http/plain/response.node.ts': 'one',
  'gateway/routing/router.ts': 'process: what a Host means, found again by a look-up in a map',
  'gateway/worker.ts': {
    BODY_BYTES_MAX: 'shared gateway.bodies',
    NONCES_MAX: 'shared gateway.nonces',
    SNAPSHOT_BYTES_MAX: 'process: what each account has in the feed has a ceiling',
  },
  'nodes/agent/parts.ts': 'process: of the KV file, of which an account has a quarter or its ceiling',
  'nodes/agent/runnables.ts': 'process: starts that wait for the feed, each of which holds an instance',
  'nodes/attachments/assets/serve.ts': 'one',
  'nodes/attachments/cache/rules.ts': 'one',
  'nodes/attachments/cache/serve.ts': 'one',
  'nodes/attachments/kv/database.ts': 'process: texts of statements, which are ours',
  'nodes/attachments/kv/json-scan.ts': 'one',
  'nodes/attachments/egress/addresses.ts': 'text',
  'nodes/slots/stderr.ts': 'text',
  'shared/assets/html.ts': 'text',
  'nodes/attachments/kv/line.ts': 'process: who is forgotten goes on as one who is new',
  'nodes/attachments/kv/serve.ts': 'one',
  'nodes/attachments/kv/store.ts': {
    BATCH_BYTES_MAX: 'process: of a transaction, in which accounts take turns',
    BATCH_MAX: 'process: of a transaction, in which accounts take turns',
    CLAIMED_MAX: 'process: what is forgotten is written once more',
    SWEEP_BYTES_MAX: 'process: of one piece of cleaning up',
    SWEEP_ROWS_MAX: 'process: of one piece of cleaning up',
    WAITING_MAX: 'shared kv.requests',
  },
  'nodes/attachments/rate-limits/serve.ts': 'text',
  'nodes/attachments/listen.ts': 'one',
  'nodes/attachments/services/frames.ts': 'one',
  'nodes/attachments/host.ts': 'process: functions that run, counted between two reports',
  'nodes/attachments/thread.ts': {
    ASKED_MAX: 'shared control.requests',
    HEAP_MB_MAX: 'process: of the thread',
  },
  'nodes/code/prefetch.ts': 'process: code that is fetched ahead of any start, and waits for nobody',
  'nodes/code/programs.ts': 'one',
  'nodes/config.ts': 'process: instances of a node; `--instances` is the ceiling of an account',
  'nodes/attachments/egress/budget.ts': 'one',
  'nodes/attachments/egress/connections.ts': 'one',
  'nodes/attachments/egress/names.ts': 'one',
  'nodes/attachments/refusal-meter.ts': 'one',
  'nodes/attachments/egress/slot-proxy.ts': 'one',
  'nodes/attachments/egress/target.ts': 'text',
  'nodes/instances/check.ts': 'one',
  'nodes/instances/events.ts': 'one',
  'nodes/instances/instances.ts': 'process: ends of instances that are asked for within moments',
  'nodes/limits/watch.ts': 'one',
  'nodes/logs/attribution.ts': 'one',
  'nodes/logs/collector.ts': 'one',
  'nodes/logs/parse.ts': 'text',
  'nodes/logs/store.ts': {
    FILES_MAX: 'process: two files of each function, whose number has a ceiling',
    FILE_BYTES_MAX: 'one',
    FOLLOWERS_PER_FUNCTION_MAX: 'one',
    FOLLOWER_ENTRIES_MAX: 'one',
    UNITS_MAX: 'process: rings, read back from the files of their function',
  },
  'nodes/sandbox/cgroup.ts': 'one',
  'nodes/sandbox/tiers.ts': 'one',
  'nodes/sandbox/process-runner.ts': 'one',
  'nodes/slots/pool.ts': 'process: slots that are made ahead, for nobody yet',
  'nodes/workerd/build.ts': 'one',
  'scheduler/core/desired.ts': 'process: instances of a function that is forgotten end when they are idle',
  'scheduler/core/report.ts': 'process: of one answer to control',
  'scheduler/core/config.ts': {
    gatewaysMax: 'process: planes, not accounts',
    nodesMax: 'process: planes, not accounts',
    versionsMax: 'process: versions that run or are waited for, of functions whose number has a ceiling',
  },
  'scheduler/app.ts': 'process: messages of planes',
  'shared/carry/attempts.ts': 'one',
  'shared/carry/ended.ts': 'one',
  'shared/carry/intake.node.ts': 'one',
  'shared/carry/server-sink.node.ts': 'one',
  'shared/contracts/cors.ts': 'one',
  'shared/contracts/feed.ts': 'process: of one acknowledgement',
  'shared/contracts/jwks.ts': 'one',
  'shared/contracts/kv.ts': 'one',
  'shared/contracts/nodes.ts': 'process: of one report; what did not fit is reported again',
  'shared/feed/read.ts': 'text',
  'shared/http/answer.node.ts': 'one',
  'shared/leases/given-back.ts': 'process: of one that is forgotten the scheduler is asked, as of any other',
  'shared/leases/manager.ts': 'process: instances met before; a forgotten one counts as a cold start',
  'shared/assets/library.node.ts': {
    ASSET_DISK_BYTES_MAX: 'process: a FairCache: whoever holds most gives up its oldest entry first',
    ASSET_MEMORY_BYTES_MAX: 'process: a FairCache: whoever holds most gives up its oldest entry first',
    COMPRESSIONS_AT_ONCE_MAX: 'process: one more is answered uncompressed, and nobody waits',
    MEMORY_FILE_BYTES_MAX: 'one',
    ONE_WRITE_BYTES_MAX: 'one',
    VERIFIED_MAX: 'process: what is forgotten is checked once more',
    'new LRUCache': 'process: what is forgotten is checked once more',
  },
  'shared/assets/site.ts': 'one',
  'shared/metrics/samples.ts': 'process: of one answer of a plane',
  'shared/limits.ts': 'one',
  'shared/runtime/log.ts': 'one',
  'shared/signatures/crypto.node.ts': 'one',
  'shared/signatures/verify.ts': 'one',
  'shared/upstream/response-parser.ts': 'one',
  'shared/upstream/socket-client.node.ts': 'one',
  'shared/usage/reporter.ts': 'process: functions with usage that waits; their number has a ceiling',
};

function classOf(bound: string): BoundClass | undefined {
  const at = bound.indexOf(' ');
  const ofFile = CLASSES[bound.slice(0, at)];
  return typeof ofFile === 'object' ? ofFile[bound.slice(at + 1)] : ofFile;
}

describe('every bound in the planes', () => {
  test('is classed: of one account or less, of the process, or shared', async ({ expect }) => {
    const bounds = await readBounds(repositoryRoot, await sourceFiles(repositoryRoot));
    expect(bounds.length, 'no bound was read').toBeGreaterThan(50);
    expect(bounds.filter((bound) => classOf(bound) === undefined)).toEqual([]);
    const files = new Set(bounds.map((bound) => bound.slice(0, bound.indexOf(' '))));
    expect(
      Object.keys(CLASSES).filter((file) => !files.has(file)),
      'classed, and gone',
    ).toEqual([]);
  });

  test('that is shared names what divides it, and what is listed divides something', async ({ expect }) => {
    const classes = Object.values(CLASSES).flatMap((of) =>
      typeof of === 'object' ? Object.values(of) : [of],
    );
    const named = classes.flatMap((each) =>
      each.startsWith('shared ') ? [each.slice('shared '.length)] : [],
    );
    expect(named.filter((name) => !Object.hasOwn(SHARED, name))).toEqual([]);
    let code = '';
    for (const file of await sourceFiles(repositoryRoot))
      if (!file.startsWith('test/') && !file.endsWith('.test.ts') && file !== 'shared/shared-things.ts')
        code += await readFile(join(repositoryRoot, file), 'utf8');
    expect(
      Object.keys(SHARED).filter(
        (name) => !code.includes(`new Shares('${name}'`) && !code.includes(`'${name}',`),
      ),
    ).toEqual([]);
  });

  test('is found by the reading of the source', ({ expect }) => {
    const source = [
      'const THINGS_MAX = 3;',
      'export const MORE_MAX = 4;',
      'class A { static readonly REQUESTS_MAX = 1; }',
      '  static readonly BYTES_MAX = 256;',
      'const SILENT_MS_MAX = 10;',
      'const cache = new LRUCache({ max: 3 });',
      '  waitersMax: 20_000,',
      '  pauseMsMax: 60_000,',
    ].join('\n');
    expect(boundsOf('a.ts', source)).toEqual([
      'a.ts THINGS_MAX',
      'a.ts MORE_MAX',
      'a.ts BYTES_MAX',
      'a.ts new LRUCache',
      'a.ts waitersMax',
    ]);
  });
});
