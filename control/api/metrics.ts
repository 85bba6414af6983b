/** The door of operators to the metrics of all planes. */
import { platformMetricsSchema } from '#shared/contracts/metrics.ts';
import { renderMetrics, type Sample, type Samples } from '#shared/metrics/samples.ts';
import type { DiskRoom } from '#shared/runtime/disk.node.ts';
import type { ApiDeps } from './deps.ts';
import { noQuery, nowhere, route, type Route } from './operation.ts';

type Owning = Pick<ApiDeps, 'db' | 'consumers' | 'shares' | 'metrics'>;

export function ownSamples(deps: Owning, disk?: DiskRoom): Sample[] {
  const { db, consumers, shares } = deps;
  return deps.metrics.samples({ revision: db.revision, consumers: consumers.status(), shares, disk });
}

async function collect(deps: ApiDeps): Promise<readonly Samples[]> {
  const consumers = deps.consumers.status();
  const gateways = consumers.filter(({ role }) => role === 'gateway').map(({ consumer }) => consumer);
  const [disk, others] = await Promise.all([deps.disk(), deps.planes.samples(gateways)]);
  const own = ownSamples(deps, disk);
  return [
    { plane: 'control', id: 'control', samples: [{ name: 'isoplane_up', value: 1 }, ...own] },
    ...others,
  ];
}

const FOR_OPERATORS = {
  method: 'get',
  access: 'observe',
  operatorOnly: true,
  params: nowhere,
  query: noQuery,
} as const;

export const metrics: readonly Route[] = [
  route(
    {
      ...FOR_OPERATORS,
      id: 'scrapeMetrics',
      path: '/metrics',
      summary:
        'Metrics of all planes as Prometheus reads them, for owners and observers of account `default`.',
      replies: { 200: 'metrics' },
    },
    async (deps) => ({ status: 200, body: renderMetrics(await collect(deps)) }),
  ),
  route(
    {
      ...FOR_OPERATORS,
      id: 'getMetrics',
      path: '/v1/metrics',
      summary: 'The same as JSON.',
      replies: { 200: platformMetricsSchema },
    },
    async (deps) => ({ status: 200, body: { planes: await collect(deps) } }),
  ),
];
