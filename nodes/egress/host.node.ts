/** All proxies of a node: what the egress thread runs, and tests run in their own. */
import { readFile } from 'node:fs/promises';
import { createSecureContext, rootCertificates } from 'node:tls';
import type { PlatformError } from '#shared/errors.ts';
import type { VersionId } from '#shared/ids.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import { Shares } from '#shared/shares.ts';
import { importKeyEncryptionKey } from '#shared/seal.ts';
import { addressPolicy } from './addresses.ts';
import { createDial, type Dial } from './dial.node.ts';
import type { EgressSettings, EgressUsage, FromEgress, SlotSpec } from './messages.ts';
import { dnsResolver, Names, type Resolve } from './names.node.ts';
import { RefusalMeter } from './refusal-meter.ts';
import { Secrets } from './secrets.ts';
import { SlotProxy } from './slot-proxy.node.ts';

const CONNECT_MS_MAX = 10_000;
const USAGE_MS = 1_000;

export interface EgressHostOptions {
  readonly settings: EgressSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly tell: (message: FromEgress) => void;
  readonly connectMsMax?: number;
  /** Of all instances together. */
  readonly connectionsMax?: number;
  /** Instead of DNS. */
  readonly resolve?: Resolve;
}

export class EgressHost {
  readonly #options: EgressHostOptions;
  readonly #dial: Dial;
  readonly #connections: Shares;
  readonly #secrets: Secrets;
  readonly #slots = new Map<string, SlotProxy>();
  /** Told to go while it was about to listen. */
  readonly #detached = new Set<string>();
  readonly #attaching = new Set<string>();
  #usage = new Map<VersionId, EgressUsage>();
  readonly #usageTimer: Disposable;

  constructor(options: EgressHostOptions) {
    const { settings, clock, timers, tell } = options;
    this.#options = options;
    this.#dial = createDial({
      names: new Names({
        resolve: options.resolve ?? dnsResolver(settings.dnsServers),
        clock,
        timers,
        lookups: new Shares('egress.lookups'),
        remembered: new Shares('egress.names'),
      }),
      policy: addressPolicy(settings.allowPrivate),
      timers,
      connectMsMax: options.connectMsMax ?? CONNECT_MS_MAX,
      secureContext:
        settings.extraCa === undefined
          ? undefined
          : createSecureContext({ ca: [...rootCertificates, settings.extraCa] }),
    });
    this.#connections = new Shares(
      'egress.connections',
      options.connectionsMax === undefined ? {} : { total: options.connectionsMax },
    );
    this.#secrets = new Secrets({
      loadKey: async () => importKeyEncryptionKey(await readFile(settings.nodeKeyFile, 'utf8')),
      onProblem: (key, error) =>
        tell({
          type: 'problem',
          event: 'secret_not_opened',
          message: `${key}: ${error instanceof Error ? error.message : 'unknown'}`,
        }),
    });
    this.#usageTimer = timers.every(USAGE_MS, () => this.#tellUsage());
  }

  get open(): number {
    return [...this.#slots.values()].reduce((sum, slot) => sum + slot.open, 0);
  }

  async attach(spec: SlotSpec): Promise<void> {
    const { clock, tell } = this.#options;
    const meter = new RefusalMeter(clock);
    const { instanceId } = spec;
    this.#attaching.add(instanceId);
    try {
      const slot = await SlotProxy.listen({
        spec,
        dial: this.#dial,
        connections: this.#connections,
        secrets: this.#secrets,
        clock,
        onRefused: (error, requestId) => this.#refused(meter, instanceId, error, requestId),
      });
      if (this.#detached.delete(instanceId)) slot.close();
      else this.#slots.set(instanceId, slot);
      tell({ type: 'attached', instanceId });
    } catch (thrown) {
      const message = thrown instanceof Error ? thrown.message : 'unknown';
      tell({ type: 'attach_failed', instanceId, message });
    } finally {
      this.#attaching.delete(instanceId);
    }
  }

  detach(instanceId: string): void {
    const slot = this.#slots.get(instanceId);
    if (slot === undefined) {
      if (this.#attaching.has(instanceId)) this.#detached.add(instanceId);
      return;
    }
    this.#slots.delete(instanceId);
    slot.close();
    this.#collect(slot);
    this.#tellUsage();
  }

  setSecret(key: string, sealed: string | undefined): void {
    this.#secrets.set(key, sealed);
  }

  close(): void {
    this.#usageTimer[Symbol.dispose]();
    for (const instanceId of this.#slots.keys()) this.detach(instanceId);
    this.#tellUsage();
  }

  #refused(
    meter: RefusalMeter,
    instanceId: string,
    error: PlatformError,
    requestId: string | undefined,
  ): void {
    const message = meter.take(`${error.code}: ${error.publicDetail ?? 'the proxy failed'}`);
    if (error.code === 'internal')
      this.#options.tell({ type: 'problem', event: 'egress_internal', message: String(error.cause) });
    if (message !== undefined)
      this.#options.tell({
        type: 'refused',
        instanceId,
        message,
        ...(requestId === undefined ? {} : { requestId }),
      });
  }

  #collect(slot: SlotProxy): void {
    const { requests, bytes } = slot.takeUsage();
    if (requests === 0 && bytes === 0) return;
    const before = this.#usage.get(slot.spec.versionId) ?? { requests: 0, bytes: 0 };
    this.#usage.set(slot.spec.versionId, {
      requests: before.requests + requests,
      bytes: before.bytes + bytes,
    });
  }

  #tellUsage(): void {
    for (const slot of this.#slots.values()) this.#collect(slot);
    if (this.#usage.size === 0) return;
    this.#options.tell({ type: 'usage', entries: [...this.#usage] });
    this.#usage = new Map();
  }
}
