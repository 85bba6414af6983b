/** Numbers of the table's metrics: how planes pass them to each other, and how Prometheus reads them. Pure. */
import { z } from 'zod';
import { LABELS, METRICS, rowOf, type LabelName, type MetricName } from './table.ts';

/** Histograms have one sample for each bucket (not cumulative, the last is +Inf), and `sum`. */
export interface Sample {
  readonly name: MetricName;
  /** Of the metric's label. */
  readonly label?: string | undefined;
  readonly value: number | Distribution;
}

interface Distribution {
  /** One more than the metric has bounds. */
  readonly counts: readonly number[];
  readonly sum: number;
}

/** A plane and its numbers. */
export interface Samples {
  readonly plane: string;
  readonly id: string;
  readonly samples: readonly Sample[];
}

const NAMES = Object.keys(METRICS) as [MetricName, ...MetricName[]];
/** As many as there can be. */
const SAMPLES_MAX = NAMES.length * Math.max(...Object.values(LABELS).map((values) => values.length));

const sampleSchema = z
  .object({
    name: z.enum(NAMES),
    label: z.string().optional(),
    value: z.union([
      z.number(),
      z.object({ counts: z.array(z.number().min(0)).max(100), sum: z.number().min(0) }),
    ]),
  })
  .refine(({ name, label, value }) => isOfTable(name, label, value), { error: 'not as the table says' });

/** Only what the table knows: a plane that is taken over names nothing else. */
export const samplesSchema = z.object({ samples: z.array(sampleSchema).max(SAMPLES_MAX) });

function isOfTable(name: MetricName, label: string | undefined, value: Sample['value']): boolean {
  const row = rowOf(name);
  const labelled = row.label === undefined ? label === undefined : valuesOf(row.label).includes(label ?? '');
  return labelled && (typeof value === 'number') === (row.type !== 'histogram');
}

const valuesOf = (label: LabelName): readonly string[] => LABELS[label];

/** One sample for each entry; entries that the table does not know are left out. */
export function byLabel(name: MetricName, counts: Iterable<readonly [string, number]>): Sample[] {
  return [...counts].flatMap(([label, value]) =>
    isOfTable(name, label, value) ? [{ name, label, value }] : [],
  );
}

/** https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. */
export const TEXT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export function renderMetrics(planes: readonly Samples[]): string {
  const lines: string[] = [];
  for (const name of NAMES) {
    const found = planes.flatMap(({ plane, id, samples }) =>
      samples.filter((sample) => sample.name === name).map((sample) => ({ plane, id, sample })),
    );
    if (found.length === 0) continue;
    const { help, type, label: labelName } = rowOf(name);
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const { plane, id, sample } of found) {
      const labels = { plane, id, ...(labelName === undefined ? {} : { [labelName]: sample.label ?? '' }) };
      if (typeof sample.value === 'number') lines.push(`${name}${labelText(labels)} ${sample.value}`);
      else lines.push(...distribution(name, labels, sample.value));
    }
  }
  return `${lines.join('\n')}\n`;
}

function distribution(
  name: MetricName,
  labels: Readonly<Record<string, string>>,
  { counts, sum }: Distribution,
): string[] {
  const bounds = rowOf(name).buckets ?? [];
  let total = 0;
  const buckets = [...bounds, Number.POSITIVE_INFINITY].map((bound, index) => {
    total += counts[index] ?? 0;
    const le = Number.isFinite(bound) ? String(bound) : '+Inf';
    return `${name}_bucket${labelText({ ...labels, le })} ${total}`;
  });
  return [...buckets, `${name}_sum${labelText(labels)} ${sum}`, `${name}_count${labelText(labels)} ${total}`];
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) =>
      `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return `{${pairs.join(',')}}`;
}
