/**
 * Metrics of planes (shared/metrics/table.ts names them all).
 *
 *   GET /v1/metrics at the private socket of each plane → MetricsReport
 *   GET /v1/metrics at control, for operators           → PlatformMetrics
 */
import { z } from 'zod';
import { samplesSchema } from '../metrics/samples.ts';

export const platformMetricsSchema = z.object({
  planes: z.array(samplesSchema.extend({ plane: z.string(), id: z.string() })),
});
