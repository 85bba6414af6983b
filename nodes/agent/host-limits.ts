/** Whether the host allows what the capacity promises. Pure; what the host says is read by the agent. */
export interface HostLimits {
  /** Hard limit of the agent's open files; undefined when it is not known. */
  readonly openFilesMax: number | undefined;
  /** Process ids of the machine. */
  readonly pidsMax: number | undefined;
}

/** Output of an idle instance is two; sockets of bindings, connections and slots that come up are the rest. */
const FILES_PER_INSTANCE = 8;
const FILES_OF_AGENT = 1_000;
/** bwrap, and workerd with two threads or more. */
const PIDS_PER_INSTANCE = 4;

/** Each entry names the limit, what it is and what it should be. */
export function hostProblems({ openFilesMax, pidsMax }: HostLimits, capacity: number): readonly string[] {
  const files = capacity * FILES_PER_INSTANCE + FILES_OF_AGENT;
  const pids = capacity * PIDS_PER_INSTANCE;
  const problems: string[] = [];
  if (openFilesMax !== undefined && openFilesMax < files)
    problems.push(`open files: the hard limit is ${openFilesMax}, ${capacity} instances need ${files}`);
  if (pidsMax !== undefined && pidsMax < pids)
    problems.push(`kernel.pid_max is ${pidsMax}, ${capacity} instances need ${pids}`);
  return problems;
}

/** From /proc/self/limits and /proc/sys/kernel/pid_max. */
export function parseHostLimits(limits: string, pidMax: string): HostLimits {
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  const pids = /^\d+/.exec(pidMax)?.[0];
  return {
    openFilesMax: hard === undefined ? undefined : Number(hard),
    pidsMax: pids === undefined ? undefined : Number(pids),
  };
}
