/**
 * Tells the scheduler what runs here, every LIMITS.heartbeatMs and at once after an instance ended. The
 * scheduler may be away: instances go on, and the next heartbeat says everything again.
 */
import { nodeHeartbeatReplySchema, type NodeHeartbeat } from '#shared/contracts/nodes.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Peer } from '#shared/runtime/peer.ts';

export interface HeartbeatOptions {
  readonly nodeId: string;
  readonly scheduler: Peer;
  readonly timers: Timers;
  readonly log: Log;
  readonly describe: () => NodeHeartbeat;
  readonly onAnswered: (sent: NodeHeartbeat, stop: readonly string[]) => void;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #reachable = true;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Sends now; a call during a send is answered by one more send after it. */
  beat(): void {
    if (this.#closed) return;
    if (this.#sending !== undefined) {
      this.#again = true;
      return;
    }
    this.#timer?.cancel();
    this.#sending = this.#send().finally(() => {
      this.#sending = undefined;
      if (this.#closed) return;
      if (this.#again) {
        this.#again = false;
        this.beat();
      } else this.#timer = this.#options.timers.after(LIMITS.heartbeatMs, () => this.beat());
    });
  }

  /** Sends one last time, so that the scheduler hears of a stop before the silence. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#sending;
    await this.#send();
  }

  async #send(): Promise<void> {
    const heartbeat = this.#options.describe();
    try {
      const reply = await this.#options.scheduler.call(
        `/v1/nodes/${encodeURIComponent(this.#options.nodeId)}/heartbeat`,
        nodeHeartbeatReplySchema,
        { method: 'POST', body: heartbeat, signal: AbortSignal.timeout(LIMITS.memberDeadMs) },
      );
      if (!this.#reachable) this.#options.log.info('scheduler_reachable');
      this.#reachable = true;
      this.#options.onAnswered(heartbeat, reply.stop);
    } catch (thrown) {
      if (this.#reachable) this.#options.log.warn('scheduler_unreachable', { error: thrown });
      this.#reachable = false;
    }
  }
}
