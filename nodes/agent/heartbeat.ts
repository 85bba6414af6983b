/**
 * Tells the scheduler what runs here, every LIMITS.heartbeatMs and at once after an instance ended. The
 * scheduler may be away: instances go on, and the next heartbeat says everything again. A list that the scheduler says
 * it has is not sent again.
 */
import { nodeHeartbeatReplySchema, type NodeBeat, type NodeHeartbeat } from '#shared/contracts/nodes.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Peer } from '#shared/runtime/peer.ts';

export interface HeartbeatOptions {
  readonly nodeId: string;
  readonly scheduler: Peer;
  readonly timers: Timers;
  readonly log: Log;
  /** Its list is the same object for as long as it is the same. */
  readonly describe: () => NodeHeartbeat;
  /** Unlike any other of any agent. */
  readonly newListMark: () => string;
  readonly onAnswered: (sent: NodeHeartbeat, stop: readonly string[]) => void;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #again = false;
  #closed = false;
  #reachable = true;
  /** What was sent last. */
  #list: NodeHeartbeat['instances'] | undefined;
  #listMark = '';
  /** The scheduler has said so. */
  #isListKnown = false;

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
    if (heartbeat.instances !== this.#list) {
      this.#list = heartbeat.instances;
      this.#listMark = this.#options.newListMark();
      this.#isListKnown = false;
    }
    const listMark = this.#listMark;
    const wasKnown = this.#isListKnown;
    const body: NodeBeat = { ...heartbeat, listMark, ...(wasKnown ? { instances: undefined } : {}) };
    this.#isListKnown = false;
    try {
      const reply = await this.#options.scheduler.call(
        `/v1/nodes/${encodeURIComponent(this.#options.nodeId)}/heartbeat`,
        nodeHeartbeatReplySchema,
        { method: 'POST', body, signal: AbortSignal.timeout(LIMITS.memberDeadMs) },
      );
      if (!this.#reachable) this.#options.log.info('scheduler_reachable');
      this.#reachable = true;
      this.#isListKnown = reply.listMark === listMark;
      // It has forgotten the list, as one does that was started anew, and took nothing in.
      if (wasKnown && !this.#isListKnown) this.#again = true;
      else this.#options.onAnswered(heartbeat, reply.stop);
    } catch (thrown) {
      if (this.#reachable) this.#options.log.warn('scheduler_unreachable', { error: thrown });
      this.#reachable = false;
    }
  }
}
