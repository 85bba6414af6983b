/** Interleaved rounds of load: what is compared runs by turns on the same machine, in the same minutes. */
import type { LoadGenerator, Measured } from './load.ts';
import type { LoadJob, RequestPlan } from './load-messages.ts';
import type { BenchScale } from './scale.ts';

export interface Candidate {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  readonly pid: number;
  readonly plan: RequestPlan;
}

export const RAW = 'raw workerd';

/** The gateway's code is compiled while it runs; whoever comes first must not pay for that. */
export async function firstWarmUp(
  load: LoadGenerator,
  candidates: readonly Candidate[],
  { firstWarmUpMs }: BenchScale,
): Promise<void> {
  for (const candidate of candidates)
    await warmUp(load, jobOf(candidate, 16, firstWarmUpMs), candidate.pid, firstWarmUpMs);
}

/** @param between - runs once a round, while nothing is under load. */
// oxlint-disable-next-line max-params -- the last one belongs to one part of the bench alone
export async function interleaved(
  load: LoadGenerator,
  candidates: readonly Candidate[],
  connections: number,
  scale: BenchScale,
  between: () => void = () => undefined,
): Promise<Map<string, Measured[]>> {
  const rounds = new Map<string, Measured[]>(candidates.map(({ name }) => [name, []]));
  for (let round = 0; round < scale.warmRounds; round += 1) {
    // Every other round runs backwards, so that nobody always comes after the same neighbour.
    for (const candidate of round % 2 === 0 ? candidates : [...candidates].reverse()) {
      const job = jobOf(candidate, connections, scale.warmRoundMs);
      await warmUp(load, job, candidate.pid, scale.warmUpMs);
      rounds.get(candidate.name)?.push(await load.run(job, candidate.pid));
    }
    between();
    process.stderr.write(`  ${connections} connections: round ${round + 1} of ${scale.warmRounds}\n`);
  }
  return rounds;
}

function jobOf({ url, host, plan }: Candidate, connections: number, durationMs: number): LoadJob {
  return { url, host, connections, durationMs, plan };
}

/** Instances started, connections opened, code compiled: none of it belongs to a warm request. */
async function warmUp(load: LoadGenerator, job: LoadJob, pid: number, durationMs: number): Promise<void> {
  const plan = job.plan.kind === 'same' ? job.plan : { ...job.plan, count: durationMs };
  await load.run({ ...job, plan, durationMs }, pid);
}
