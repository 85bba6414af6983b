/** Drives the load generator process, and reads the CPU time of the served processes around the load. */
import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { treeCpuMs } from '../support/proc.ts';
import { fromLoadSchema, type FromLoad, type LoadJob } from './load-messages.ts';

export interface Measured {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Of instants, not of requests: what a request sent at any time waits (statistics.ts). */
  readonly pauseP99Ms: number;
  readonly maxMs: number;
  /** CPU time of the process tree per answered request. */
  readonly cpuUsPerRequest: number;
  readonly answered: number;
}

export class LoadGenerator implements Disposable {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(join(import.meta.dirname, 'load-process.ts'), [], {
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
  }

  /** @param servedBy - root of the process tree that serves the load. */
  async run(job: LoadJob, servedBy: number): Promise<Measured> {
    // The signing of thousands of requests happens before the CPU time is read.
    await this.#ask({ type: 'prepare', job }, 'prepared');
    const before = treeCpuMs(servedBy);
    const result = await this.#ask({ type: 'go' }, 'done');
    const cpuMs = treeCpuMs(servedBy) - before;
    const refused = Object.values(result.refused).reduce((sum, count) => sum + count, 0);
    if (refused > 0)
      throw new Error(
        `${job.host}: ${refused} of ${refused + result.answered} were not answered 200: ${JSON.stringify(result.refused)}\n${result.firstRefusal ?? ''}`,
      );
    return {
      requestsPerSecond: (result.answered * 1_000) / result.elapsedMs,
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      p999Ms: result.p999Ms,
      pauseP99Ms: result.pauseP99Ms,
      maxMs: result.maxMs,
      cpuUsPerRequest: (cpuMs * 1_000) / result.answered,
      answered: result.answered,
    };
  }

  #ask<T extends FromLoad['type']>(message: object, expected: T): Promise<Extract<FromLoad, { type: T }>> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the load generator ended'));
      this.#child.once('exit', onExit);
      this.#child.once('message', (raw) => {
        this.#child.off('exit', onExit);
        const answer = fromLoadSchema.parse(raw);
        if (answer.type === expected) resolve(answer as Extract<FromLoad, { type: T }>);
        else
          reject(new Error(answer.type === 'failed' ? answer.message : `unexpected answer ${answer.type}`));
      });
      this.#child.send(message);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}
