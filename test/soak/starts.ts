/**
 * `npm run soak`: many starts and stops on a real agent in a process of its own, and then a look at what is
 * left. Instances end in every way there is; nothing of any of them may remain.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { boxFolder } from '#nodes/agent/parts.ts';
import { callSocket, type TestVersion, type World } from '#nodes/testing/world.ts';
import { exitReportSchema, nodeStatusSchema } from '#shared/contracts/nodes.ts';
import type { VersionId } from '#shared/ids.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { AgentProcess } from '../support/agent.ts';
import { processTree } from '../support/proc.ts';
import { Collector } from './collected.ts';
import { slopeOf } from './slope.ts';

const SLOTS = 4;
const AT_ONCE = 4;
const SAMPLES = 200;
const SETTLE_MS = 30_000;

export interface SoakReport {
  readonly starts: number;
  readonly answered: number;
  readonly seconds: number;
  readonly leftovers: Leftovers;
  /** Resident memory of the agent at the first and the last sample after the first fifth, and its trend. */
  readonly rssMb: Trend;
  /** After full collections, ten of them, from the first fifth on: what is really kept. */
  readonly keptRssMb: Trend;
  readonly keptHeapMb: Trend;
}

interface Trend {
  readonly first: number;
  readonly last: number;
  readonly perThousandStarts: number;
}

/** What there is more of than before the first start. All must be zero. */
export interface Leftovers {
  readonly zombies: number;
  readonly processes: number;
  readonly folders: number;
  readonly sockets: number;
  readonly groups: number;
  readonly descriptors: number;
}

type Count = Readonly<Record<keyof Leftovers, number>>;

const ANSWER = 'export default { fetch() { return new Response("ok"); } };';
const VERSIONS: readonly Omit<TestVersion, 'id'>[] = [
  { modules: [{ name: 'index.js', content: ANSWER }] },
  { tier: 'strict', modules: [{ name: 'index.js', content: ANSWER }] },
  { limits: { memoryMb: 64 }, modules: [{ name: 'index.js', content: ANSWER }] },
  {
    hooks: { init: { timeoutMs: 10_000 }, preStop: { timeoutMs: 10_000 } },
    modules: [
      {
        name: 'index.js',
        content: `export function init() { console.log('init'); } export function preStop() {} ${ANSWER}`,
      },
    ],
  },
  { modules: [{ name: 'index.js', content: 'throw new Error("never starts");' }] },
];
const FAILING = VERSIONS.length - 1;

class Soak {
  readonly #world: World;
  readonly #agent: AgentProcess;
  readonly #ids: readonly VersionId[];
  answered = 0;

  constructor(agent: AgentProcess) {
    const { world } = agent;
    this.#world = world;
    this.#agent = agent;
    this.#ids = VERSIONS.map((version, index) =>
      world.control.publish({ ...version, id: `default/soak-${index}@1` }),
    );
  }

  /** Most instances are the plain one; each tenth start is of another kind, in turn. */
  async one(number: number): Promise<void> {
    const kind = number % 10 === 0 ? (number / 10) % VERSIONS.length : 0;
    const id = this.#ids[kind];
    if (id === undefined) throw new Error(`there is no kind ${kind}`);
    if (kind === FAILING) {
      await this.#world.start(id).then(
        () => Promise.reject(new Error('code that throws has started')),
        () => undefined,
      );
      return;
    }
    const { instanceId, path } = await this.#world.start(id);
    const { text } = await callSocket(path);
    if (text === 'ok') this.answered += 1;
    // One in seven is not stopped but dies.
    if (number % 7 === 3) this.#kill(path);
    else
      await this.#world.peer.call(
        `/v1/instances/${instanceId}?graceMs=${number % 3 === 0 ? 1_000 : 0}`,
        z.unknown(),
        { method: 'DELETE' },
      );
    await this.#world.peer.call(`/v1/instances/${instanceId}/exit?waitMs=20000`, exitReportSchema);
  }

  count(): Count {
    const box = boxFolder(this.#world.layout, 'node-1');
    const tree = processTree(this.#agent.pid);
    const group = `${basename(this.#world.layout.runDir)}-node-1`;
    const found = spawnSync('find', ['/sys/fs/cgroup', '-type', 'd', '-path', `*/${group}/*`], {
      encoding: 'utf8',
    });
    return {
      zombies: tree.filter(({ pid }) => /^State:\s+Z/m.test(readText(`/proc/${pid}/status`))).length,
      processes: tree.length,
      folders: readdirSync(join(box, 's')).length,
      sockets: readText('/proc/net/unix')
        .split('\n')
        .filter((line) => line.includes(box)).length,
      groups: found.stdout.split('\n').filter((line) => line !== '').length,
      descriptors: readdirSync(`/proc/${this.#agent.pid}/fd`).length,
    };
  }

  /** The counts once every slot waits again and nothing is on its way out. */
  async settled(than: Count | undefined): Promise<Count> {
    let last: Count | undefined;
    try {
      await waitFor(
        'everything to be gone',
        async () => {
          const status = await this.#world.peer.call('/v1/status', nodeStatusSchema);
          last = this.count();
          if (status.instances !== 0 || status.freeSlots !== SLOTS) return false;
          return than === undefined ? last.zombies === 0 : !more(last, than);
        },
        SETTLE_MS,
      );
    } catch (thrown) {
      // What did not go away is the result.
      if (last === undefined) throw thrown;
    }
    return last ?? this.count();
  }

  rssMb(): number {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readText(`/proc/${this.#agent.pid}/status`))?.[1] ?? 0) / 1_024;
  }

  #kill(path: string): void {
    const folder = path.replace(/\/w\.sock$/, '');
    const bwrap = processTree(this.#agent.pid).find(({ pid }) =>
      readText(`/proc/${pid}/cmdline`).split('\0').includes(folder),
    );
    if (bwrap === undefined) throw new Error(`no process runs in ${folder}`);
    process.kill(bwrap.pid, 'SIGKILL');
  }
}

const KEYS = ['zombies', 'processes', 'folders', 'sockets', 'groups', 'descriptors'] as const;
const more = (now: Count, than: Count): boolean => KEYS.some((key) => now[key] > than[key]);

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

interface Point {
  readonly x: number;
  readonly y: number;
}

export interface SoakOptions {
  readonly starts: number;
  readonly tell: (line: string) => void;
}

export async function soak({ starts, tell }: SoakOptions): Promise<SoakReport> {
  await using agent = await AgentProcess.start(
    {
      ISOPLANE_SLOTS: String(SLOTS),
      // The same number always waits, so that what is left can be counted.
      ISOPLANE_SLOTS_MAX: String(SLOTS),
      ISOPLANE_STRICT_SLOTS_MAX: '0',
    },
    ['--inspect=127.0.0.1:0'],
  );
  using collector = await Collector.open(agent.debuggerUrl ?? '');
  const run = new Soak(agent);
  // Connections to the agent and lazily loaded code are there before the first count.
  await forEach(AT_ONCE * 5, (number) => run.one(number));
  const before = await run.settled(undefined);
  run.answered = 0;
  const samples: Point[] = [];
  const kept: { readonly rss: Point[]; readonly heap: Point[] } = { rss: [], heap: [] };
  const every = Math.max(1, Math.floor(starts / SAMPLES));
  const beganMs = performance.now();
  await forEach(starts, async (number) => {
    await run.one(number);
    if (number % every === 0) samples.push({ x: number, y: run.rssMb() });
    if (number % Math.ceil(starts / 10) !== 0) return;
    const { rssMb, heapMb } = await collector.collect();
    kept.rss.push({ x: number, y: rssMb });
    kept.heap.push({ x: number, y: heapMb });
    tell(
      `${number} of ${starts}, agent ${rssMb.toFixed(1)} MB after a collection, heap ${heapMb.toFixed(1)}`,
    );
  });
  const seconds = (performance.now() - beganMs) / 1_000;
  const after = await run.settled(before);
  const trendOf = (points: readonly Point[]): Trend => {
    const late = points.filter(({ x }) => x >= starts / 5).toSorted((a, b) => a.x - b.x);
    return {
      first: late[0]?.y ?? 0,
      last: late.at(-1)?.y ?? 0,
      perThousandStarts: slopeOf(late) * 1_000,
    };
  };
  return {
    starts,
    answered: run.answered,
    seconds,
    leftovers: Object.fromEntries(KEYS.map((key) => [key, Math.max(0, after[key] - before[key])])) as Count,
    rssMb: trendOf(samples),
    keptRssMb: trendOf(kept.rss),
    keptHeapMb: trendOf(kept.heap),
  };
}

async function forEach(count: number, run: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < count) {
        next += 1;
        await run(next);
      }
    }),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: { starts: { type: 'string', default: '10000' } } });
  const report = await soak({
    starts: Number(values.starts),
    tell: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
  process.exitCode = Object.values(report.leftovers).some((count) => count > 0) ? 1 : 0;
}
