/** Tables for people: columns padded to their widest cell, prose wrapped so that lines fit the terminal. */
import process from 'node:process';
import { stripVTControlCharacters } from 'node:util';
import colors from 'picocolors';
import { plain } from './output.ts';

const GAP = '  ';
/** What a terminal has when it does not say; scripts read `--json`. */
const WIDTH_DEFAULT = 80;
/** A wrapped column keeps at least this much. */
const CELL_MIN = 10;

export function terminalWidth(): number {
  const told = process.stdout.isTTY ? process.stdout.columns : Number(process.env['COLUMNS']);
  return told > 0 ? told : WIDTH_DEFAULT;
}

const fitsInto = (text: string, width: number): boolean =>
  text.split('\n').every((line) => stripVTControlCharacters(line).length <= width);

/** Like {@link table}, but where its rows cannot be wrapped into the width the last columns go, `spare` of them at most. */
export function tableWithSpareColumns(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  spare: number,
  width: number = terminalWidth(),
): string {
  const whole = table(head, rows, width);
  if (spare === 0 || fitsInto(whole, width)) return whole;
  const without = <T>(cells: readonly T[]): readonly T[] => cells.slice(0, -1);
  return tableWithSpareColumns(without(head), rows.map(without), spare - 1, width);
}

/** Like {@link table}, but the last column, which `--json` has as well, goes where there is no room for it. */
export function tableWithSpare(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number = terminalWidth(),
): string {
  const whole = table(head, rows, Number.MAX_SAFE_INTEGER);
  return fitsInto(whole, width)
    ? whole
    : table(
        head.slice(0, -1),
        rows.map((row) => row.slice(0, -1)),
        width,
      );
}

export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number = terminalWidth(),
): string {
  if (rows.length === 0) return colors.dim('(none)');
  const safe = rows.map((row) => row.map(plain));
  const widths = fit(
    head.map((title, column) => Math.max(title.length, ...safe.map((row) => row[column]?.length ?? 0))),
    head.map((title, column) => Math.max(title.length, ...safe.map((row) => longestWord(row[column] ?? '')))),
    width,
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(GAP)
      .trimEnd();
  return [colors.dim(line(head)), ...safe.flatMap((row) => wrapRow(row, widths).map(line))].join('\n');
}

const longestWord = (cell: string): number => Math.max(0, ...cell.split(' ').map((word) => word.length));

/** Narrows the widest column that has spaces to break at, until all fit or none can give. Names are never broken. */
function fit(wanted: readonly number[], least: readonly number[], width: number): number[] {
  const widths = [...wanted];
  const total = (): number => widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
  while (total() > width) {
    let widest: number | undefined;
    for (const [column, each] of widths.entries())
      if (each > Math.max(CELL_MIN, least[column] ?? 0) && each > (widths[widest ?? -1] ?? 0))
        widest = column;
    if (widest === undefined) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

function wrapRow(row: readonly string[], widths: readonly number[]): string[][] {
  const cells = row.map((cell, column) => wrap(cell, widths[column] ?? cell.length));
  const height = Math.max(...cells.map((lines) => lines.length));
  return Array.from({ length: height }, (_, index) => cells.map((lines) => lines[index] ?? ''));
}

/** At spaces; words are never broken. */
export function wrap(text: string, width: number): string[] {
  if (text.length <= width) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
