/**
 * CPU and memory that the instances of this node used. CPU is what the watchdog's samples say: the last of
 * them is taken when an instance is about to be stopped, so what a process that ends by itself burnt after
 * its last sample (100 ms when it is busy) is not counted.
 */
import { parseVersionId, type VersionId } from '#shared/ids.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';

interface Counted {
  readonly versionId: VersionId;
  readonly memoryMb: number;
  /** CPU of the process that was counted so far. */
  cpuMs: number;
  /** Until when its memory was counted. */
  untilMs: number;
}

interface Amounts {
  cpuMs: number;
  memoryMbMs: number;
}

export class NodeUsage {
  readonly #instances = new Map<string, Counted>();
  readonly #used = new Map<VersionId, Amounts>();

  started(instanceId: string, versionId: VersionId, memoryMb: number, nowMs: number): void {
    this.#instances.set(instanceId, { versionId, memoryMb, cpuMs: 0, untilMs: nowMs });
  }

  /** @param cpuMs - of the process since it began. */
  sampled(instanceId: string, cpuMs: number): void {
    const instance = this.#instances.get(instanceId);
    if (instance === undefined || cpuMs <= instance.cpuMs) return;
    this.#amountsOf(instance.versionId).cpuMs += cpuMs - instance.cpuMs;
    instance.cpuMs = cpuMs;
  }

  ended(instanceId: string, nowMs: number): void {
    const instance = this.#instances.get(instanceId);
    if (instance === undefined) return;
    this.#countMemory(instance, nowMs);
    this.#instances.delete(instanceId);
  }

  /** What was used since the last call. */
  *drain(nowMs: number): Generator<UsageEntry> {
    for (const instance of this.#instances.values()) this.#countMemory(instance, nowMs);
    const used = [...this.#used];
    this.#used.clear();
    for (const [versionId, amounts] of used) {
      const { account, functionName } = parseVersionId(versionId);
      yield { account, function: functionName, amounts };
    }
  }

  #countMemory(instance: Counted, nowMs: number): void {
    if (nowMs <= instance.untilMs) return;
    this.#amountsOf(instance.versionId).memoryMbMs += instance.memoryMb * (nowMs - instance.untilMs);
    instance.untilMs = nowMs;
  }

  #amountsOf(versionId: VersionId): Amounts {
    let amounts = this.#used.get(versionId);
    if (amounts === undefined) {
      amounts = { cpuMs: 0, memoryMbMs: 0 };
      this.#used.set(versionId, amounts);
    }
    return amounts;
  }
}
