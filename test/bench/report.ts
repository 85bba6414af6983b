/** Rows of the result: the ratio first, the absolute second, then the goal and whether it was reached. */

export interface Row {
  readonly name: string;
  /** Relative to raw workerd or to the start. */
  readonly ratio?: number;
  readonly absolute: string;
  readonly goal?: string;
  readonly reached?: boolean;
  /** Everything measured, for the JSON file. */
  readonly details: unknown;
}

export interface Report {
  readonly machine: Readonly<Record<string, unknown>>;
  readonly rows: readonly Row[];
}

const HEADS = ['figure', 'ratio', 'absolute', 'goal', 'reached'] as const;

export function renderTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.name,
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    row.absolute,
    row.goal ?? '',
    row.reached === undefined ? '' : row.reached ? 'yes' : 'NO',
  ]);
  const widths = HEADS.map((head, column) =>
    Math.max(head.length, ...cells.map((line) => (line[column] ?? '').length)),
  );
  const render = (line: readonly string[]): string =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [render(HEADS), render(widths.map((width) => '-'.repeat(width))), ...cells.map(render)].join('\n');
}

export const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
export const mib = (kb: number): string => `${(kb / 1024).toFixed(1)} MiB`;
