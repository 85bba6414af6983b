/** All proxies of a node: what the thread runs, and tests run in their own. */
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createSecureContext, rootCertificates } from 'node:tls';
import type { PlatformError } from '#shared/errors.ts';
import { parseVersionId, type VersionId } from '#shared/ids.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import { Shares } from '#shared/shares.ts';
import { importKeyEncryptionKey } from '#shared/seal.ts';
import type { UsageEntry } from '#shared/usage/reporter.ts';
import { COMPLETE, type AttachmentSocket, type StateEntry } from '../protocol.ts';
import type { Refused, ThreadPart } from '../run-thread.ts';
import { addressPolicy } from './addresses.ts';
import { createDial, type Dial } from './dial.ts';
import type { EgressSettings, EgressTerms } from './kind.ts';
import { dnsResolver, Names, type Resolve } from './names.ts';
import { RefusalMeter } from '../refusal-meter.ts';
import { Secrets } from './secrets.ts';
import { SlotProxy, type EgressUsage } from './slot-proxy.ts';

const CONNECT_MS_MAX = 10_000;

export interface EgressHostOptions {
  readonly settings: EgressSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly refused: Refused;
  readonly connectMsMax?: number;
  /** Of all instances together. */
  readonly connectionsMax?: number;
  /** Instead of DNS. */
  readonly resolve?: Resolve;
}

export class EgressHost implements ThreadPart<EgressTerms> {
  readonly #options: EgressHostOptions;
  readonly #dial: Dial;
  readonly #connections: Shares;
  readonly #secrets: Secrets;
  readonly #slots = new Map<string, SlotProxy>();
  /** Of versions, since it was asked for. */
  #usage = new Map<VersionId, EgressUsage>();

  constructor(options: EgressHostOptions) {
    const { settings, clock, timers, log } = options;
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
        log.error('secret_not_opened', {
          message: `${key}: ${error instanceof Error ? error.message : 'unknown'}`,
        }),
    });
  }

  get open(): number {
    return [...this.#slots.values()].reduce((sum, slot) => sum + slot.open, 0);
  }

  serve({ instanceId, target }: AttachmentSocket<EgressTerms>): Server {
    const { clock } = this.#options;
    const meter = new RefusalMeter(clock);
    const slot = new SlotProxy({
      terms: target,
      dial: this.#dial,
      connections: this.#connections,
      secrets: this.#secrets,
      clock,
      onRefused: (error, requestId) => this.#refused(meter, instanceId, error, requestId),
    });
    this.#slots.set(instanceId, slot);
    return slot.server;
  }

  /** Keys are `account/name`, values sealed; undefined: it was deleted. */
  state(entries: readonly StateEntry[]): void {
    for (const { key, value } of entries)
      if (key !== COMPLETE) this.#secrets.set(key, value as string | undefined);
  }

  detached(instanceId: string): void {
    const slot = this.#slots.get(instanceId);
    if (slot === undefined) return;
    this.#slots.delete(instanceId);
    slot.close();
    this.#collect(slot);
  }

  usage(): readonly UsageEntry[] {
    for (const slot of this.#slots.values()) this.#collect(slot);
    const used = [...this.#usage];
    this.#usage = new Map();
    return used.map(([versionId, { requests, bytes }]) => {
      const { account, functionName } = parseVersionId(versionId);
      return { account, function: functionName, amounts: { egressRequests: requests, egressBytes: bytes } };
    });
  }

  close(): Promise<void> {
    for (const instanceId of this.#slots.keys()) this.detached(instanceId);
    return Promise.resolve();
  }

  #refused(
    meter: RefusalMeter,
    instanceId: string,
    error: PlatformError,
    requestId: string | undefined,
  ): void {
    const { log, refused } = this.#options;
    const message = meter.take(`${error.code}: ${error.publicDetail ?? 'the proxy failed'}`);
    if (error.code === 'internal') log.error('egress_internal', { message: String(error.cause) });
    if (message !== undefined) refused(instanceId, message, requestId);
  }

  #collect(slot: SlotProxy): void {
    const { requests, bytes } = slot.takeUsage();
    if (requests === 0 && bytes === 0) return;
    const { versionId } = slot.terms;
    const before = this.#usage.get(versionId) ?? { requests: 0, bytes: 0 };
    this.#usage.set(versionId, { requests: before.requests + requests, bytes: before.bytes + bytes });
  }
}
