/** The metrics of a plane at its private socket: `/metrics` for people and Prometheus, `/v1/metrics` for control. */
import type { Hono } from 'hono';
import { renderMetrics, TEXT_TYPE, type Samples } from './samples.ts';

export function addMetrics(app: Hono, collect: () => Samples): void {
  app.get('/metrics', (c) => c.text(renderMetrics([collect()]), 200, { 'content-type': TEXT_TYPE }));
  app.get('/v1/metrics', (c) => c.json({ samples: collect().samples }));
}
