/**
 * How many instances a machine can hold: memory of an idle one, CPU of all of them and of the agent while
 * nothing happens, and whether each still answers. On an agent of its own: deploying thousands of functions
 * is measured elsewhere.
 */
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { callSocket } from '#nodes/testing/world.ts';
import { nodeBeatSchema } from '#shared/contracts/nodes.ts';
import { closeServer, serveAt } from '#shared/runtime/transport.node.ts';
import { AgentProcess } from '../support/agent.ts';
import { processTree, treeMemory } from '../support/proc.ts';
import { mib, type Row } from './report.ts';
import type { BenchScale } from './scale.ts';

/** Instances share as little as those of strangers would. */
const VERSIONS = 50;
const AT_ONCE = 4;
const SETTLE_MS = 3_000;
const IDLE_MS = 5_000;
const TICK_MS = 10;
/** Below this the machine is left alone; what fits until then is the result. */
const AVAILABLE_KB_MIN = 1_500_000;
const STARTS_A_LOOK = 20;

const availableKb = (): number =>
  Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
const pause = (durationMs: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });

const isInstance = ({ name }: { readonly name: string }): boolean => name === 'workerd' || name === 'bwrap';

/** CPU ticks of the instances (and what is around them) and of the agent. */
function ticks(pid: number): { readonly instances: number; readonly agent: number } {
  let instances = 0;
  let agent = 0;
  for (const stat of processTree(pid)) {
    if (isInstance(stat)) instances += stat.ticks;
    // Children that ended are counted with the agent; none ends while this is measured.
    else if (stat.pid === pid) agent = stat.ticks;
  }
  return { instances, agent };
}

export async function benchDensity(scale: BenchScale): Promise<Row[]> {
  const wanted = scale.residentInstances;
  await using agent = await AgentProcess.start({
    ISOPLANE_SLOTS: '2',
    ISOPLANE_SLOTS_MAX: '2',
    ISOPLANE_CAPACITY: String(wanted + 10),
    ISOPLANE_SANDBOX: scale.sandbox,
    ISOPLANE_LOG_LEVEL: 'info',
  });
  const scheduler: Server = await serveAt(agent.world.layout.sockets.scheduler, async (request) => {
    const { listMark } = nodeBeatSchema.parse(await request.json());
    return Response.json({ stop: [], listMark });
  });
  try {
    await pause(SETTLE_MS);
    const before = { kb: treeMemory(agent.pid, isInstance).pssKb, availableKb: availableKb() };
    const paths = await startMany(agent, wanted);
    await pause(SETTLE_MS);
    const after = { kb: treeMemory(agent.pid, isInstance).pssKb, availableKb: availableKb() };
    const begin = ticks(agent.pid);
    await pause(IDLE_MS);
    const end = ticks(agent.pid);
    const answers = await callAll(paths);
    return rows({ wanted, count: paths.length, before, after, begin, end, answers });
  } finally {
    await closeServer(scheduler, 0);
  }
}

interface Measured {
  readonly wanted: number;
  readonly count: number;
  readonly before: { readonly kb: number; readonly availableKb: number };
  readonly after: { readonly kb: number; readonly availableKb: number };
  readonly begin: ReturnType<typeof ticks>;
  readonly end: ReturnType<typeof ticks>;
  readonly answers: number;
}

function rows({ wanted, count, before, after, begin, end, answers }: Measured): Row[] {
  const perInstanceKb = (after.kb - before.kb) / count;
  const machineKb = (before.availableKb - after.availableKb) / count;
  const idleTicks = end.instances - begin.instances;
  const agentShare = ((end.agent - begin.agent) * TICK_MS) / IDLE_MS;
  return [
    {
      name: `${wanted} idle instances: memory of each (PSS)`,
      absolute: `${mib(perInstanceKb)} of ${count}; ${mib(machineKb)} of what the machine has available`,
      goal: wanted >= 2_000 ? '2,000 fit' : undefined,
      reached: wanted >= 2_000 ? count >= 2_000 : undefined,
      details: { before, after, count },
    },
    {
      name: `${wanted} idle instances: CPU over ${IDLE_MS / 1_000} s`,
      absolute: `${idleTicks} ticks of all instances; agent ${(agentShare * 100).toFixed(1)} % of a core`,
      goal: '0 ticks',
      reached: idleTicks === 0,
      details: { begin, end },
    },
    {
      name: `${wanted} idle instances: answer again`,
      absolute: `${answers} of ${count}`,
      goal: 'all',
      reached: answers === count,
      details: undefined,
    },
  ].map(({ goal, reached, ...row }) => ({
    ...row,
    ...(goal === undefined ? {} : { goal }),
    ...(reached === undefined ? {} : { reached }),
  }));
}

/** @returns sockets of those that were started before memory became scarce. */
async function startMany({ world }: AgentProcess, wanted: number): Promise<readonly string[]> {
  const ids = Array.from({ length: Math.min(VERSIONS, wanted) }, (_, index) =>
    world.control.publish({
      id: `default/dense-${index}@1`,
      modules: [
        {
          name: 'index.js',
          content: `export default { fetch() { return new Response("dense ${index}"); } };`,
        },
      ],
    }),
  );
  const paths: string[] = [];
  let begun = 0;
  let scarce = false;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (begun < wanted && !scarce) {
        const id = ids[begun % ids.length];
        begun += 1;
        if (begun % STARTS_A_LOOK === 0) scarce = availableKb() < AVAILABLE_KB_MIN;
        if (id === undefined) continue;
        const { path } = await world.start(id);
        await callSocket(path);
        paths.push(path);
        if (paths.length % 200 === 0) process.stderr.write(`  density: ${paths.length} instances\n`);
      }
    }),
  );
  return paths;
}

async function callAll(paths: readonly string[]): Promise<number> {
  let answered = 0;
  for (const path of paths) {
    const answer = await callSocket(path).catch(() => undefined);
    if (answer?.text.startsWith('dense ') === true) answered += 1;
  }
  return answered;
}
