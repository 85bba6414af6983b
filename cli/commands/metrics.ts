/** `isoplane metrics`: the numbers of all planes, as Prometheus reads them. */
import { platformMetricsSchema } from '#shared/contracts/metrics.ts';
import { renderMetrics } from '#shared/metrics/samples.ts';
import type { Context } from '../context.ts';

export async function metrics(context: Context): Promise<void> {
  const { api } = await context.platform();
  const found = await api.call('/v1/metrics', platformMetricsSchema);
  context.output.result(found, () => renderMetrics(found.planes).trimEnd());
}
