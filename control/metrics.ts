/** Prometheus text. Labels come from closed sets only, so their number is bounded. */
import type { Database } from './db/database.ts';
import type { Consumers } from './feed/consumers.ts';

export class Metrics {
  readonly #requests = new Map<string, number>();

  count(status: number): void {
    const label = `${Math.floor(status / 100)}xx`;
    this.#requests.set(label, (this.#requests.get(label) ?? 0) + 1);
  }

  render(state: { readonly db: Database; readonly consumers: Consumers }): string {
    const consumers = state.consumers.status();
    const lag = consumers.map((entry) => state.db.revision - entry.revision);
    const connected = (role: string): number =>
      consumers.filter((entry) => entry.role === role && entry.connected).length;
    const lines = [
      '# HELP isoplane_control_requests_total Answers of the control API by class of status.',
      '# TYPE isoplane_control_requests_total counter',
      ...[...this.#requests].map(
        ([label, count]) => `isoplane_control_requests_total{status="${label}"} ${count}`,
      ),
      '# HELP isoplane_control_revision Newest committed feed revision.',
      '# TYPE isoplane_control_revision gauge',
      `isoplane_control_revision ${state.db.revision}`,
      '# HELP isoplane_control_feed_consumers Connected feed consumers.',
      '# TYPE isoplane_control_feed_consumers gauge',
      `isoplane_control_feed_consumers{role="gateway"} ${connected('gateway')}`,
      `isoplane_control_feed_consumers{role="node"} ${connected('node')}`,
      '# HELP isoplane_control_feed_lag_revisions Revisions that the slowest live consumer is behind.',
      '# TYPE isoplane_control_feed_lag_revisions gauge',
      `isoplane_control_feed_lag_revisions ${Math.max(0, ...lag)}`,
      '',
    ];
    return lines.join('\n');
  }
}
