/** What control says of itself in numbers (shared/metrics/table.ts). */
import { processSamples, shareSamples } from '#shared/metrics/own.node.ts';
import { byLabel, type Sample } from '#shared/metrics/samples.ts';
import { LABELS } from '#shared/metrics/table.ts';
import type { DiskRoom } from '#shared/runtime/disk.node.ts';
import type { ConsumerStatus } from './feed/consumers.ts';
import type { ControlShares } from './shares.ts';

export interface ControlState {
  readonly revision: number;
  readonly consumers: readonly ConsumerStatus[];
  readonly shares: ControlShares;
  readonly disk: DiskRoom | undefined;
}

export class Metrics {
  readonly #requests = new Map<string, number>();

  count(status: number): void {
    const label = `${Math.floor(status / 100)}xx`;
    this.#requests.set(label, (this.#requests.get(label) ?? 0) + 1);
  }

  samples({ revision, consumers, shares, disk }: ControlState): Sample[] {
    const lag = consumers.map((entry) => revision - entry.revision);
    const connected = LABELS.role.map(
      (role) => [role, consumers.filter((entry) => entry.role === role && entry.connected).length] as const,
    );
    const skipped = new Set(
      consumers.flatMap((entry) => entry.skipped.map(({ kind, key }) => `${kind} ${key}`)),
    );
    return [
      ...processSamples(),
      ...byLabel('isoplane_control_requests_total', this.#requests),
      { name: 'isoplane_feed_revision', value: revision },
      ...byLabel('isoplane_control_feed_consumers', connected),
      { name: 'isoplane_control_feed_lag_revisions', value: Math.max(0, ...lag) },
      { name: 'isoplane_control_feed_items_skipped', value: skipped.size },
      ...(disk === undefined
        ? []
        : [{ name: 'isoplane_control_storage_free_bytes', value: disk.freeBytes } as const]),
      ...shareSamples(Object.values(shares)),
    ];
  }
}
