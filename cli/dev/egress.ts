/**
 * The node's own proxy for `isoplane dev`, so that rules and errors are the same. Different on purpose: this
 * machine and its neighbours may be reached, and no secrets are added, for none are here.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EgressHost } from '#nodes/egress/host.node.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import { versionId } from '#shared/ids.ts';
import { systemClock, systemTimers } from '#shared/runtime/clock.ts';

const EVERYWHERE = ['0.0.0.0/0', '::/0'];

export class DevEgress {
  readonly #folder: string;
  readonly #host: EgressHost;
  #serving: string | undefined;
  #next = 0;

  private constructor(folder: string, onRefused: (text: string) => void) {
    this.#folder = folder;
    this.#host = new EgressHost({
      settings: { allowPrivate: EVERYWHERE, dnsServers: [], extraCa: undefined, nodeKeyFile: '' },
      clock: systemClock,
      timers: systemTimers,
      tell: (message) => {
        if (message.type === 'refused') onRefused(message.message);
      },
    });
  }

  static async open(onRefused: (text: string) => void): Promise<DevEgress> {
    return new DevEgress(await mkdtemp(join(tmpdir(), 'isoplane-dev-')), onRefused);
  }

  /** Address of the proxy under the rules of this configuration; undefined: it reaches nothing. */
  async serve(name: string, config: FunctionConfig): Promise<string | undefined> {
    const before = this.#serving;
    const { allow, deny } = egressRulesOf(config);
    this.#next += 1;
    const instanceId = `dev-${this.#next}`;
    const socketPath = join(this.#folder, `${this.#next}.sock`);
    this.#serving = allow.length === 0 ? undefined : instanceId;
    if (this.#serving !== undefined)
      await this.#host.attach({
        instanceId,
        versionId: versionId('default', name, 1),
        socketPath,
        owner: undefined,
        rules: { allow, deny, headers: [] },
        limits: config.limits,
      });
    if (before !== undefined) this.#host.detach(before);
    return this.#serving === undefined ? undefined : `unix:${socketPath}`;
  }

  async close(): Promise<void> {
    this.#host.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
