/** Pages of Markdown for people: prose, lists and tables wrapped to the width of the terminal, code as it is. Pure. */
import { stripVTControlCharacters } from 'node:util';
import colors from 'picocolors';
import { table, wrap } from './table.ts';

const FENCE = /^(?<indent> *)(?<fence>```+|~~~+)(?<language>\S*)/;
const LIST_ITEM = /^(?<marker> *(?:[-*+]|\d+\.) +)(?<text>[^ ].*|)$/;
const QUOTE = /^(?<marker>> ?)(?<text>.*)$/;
/** Stands alone: heading, rule, comment, the end of a paragraph. */
const ALONE = /^(?:#{1,6} |---+$|<!--|$)/;
const TABLE_ROW = /^ *\|/;
const TABLE_LINE = /^[\s|:-]+$/;

export function forTerminal(text: string, width: number): string {
  return new Page(text.split('\n'), width).rendered();
}

class Page {
  readonly #lines: readonly string[];
  readonly #width: number;
  readonly #out: string[] = [];
  #at = 0;

  constructor(lines: readonly string[], width: number) {
    this.#lines = lines;
    this.#width = width;
  }

  rendered(): string {
    while (this.#at < this.#lines.length) {
      const line = this.#lines[this.#at] ?? '';
      const fence = FENCE.exec(line)?.groups;
      if (fence !== undefined) this.#code(fence);
      else if (TABLE_ROW.test(line)) this.#table();
      else if (ALONE.test(line)) this.#alone(line);
      else this.#prose(line);
    }
    return this.#out.join('\n');
  }

  #alone(line: string): void {
    this.#at += 1;
    // Notes to who edits the page.
    if (!line.startsWith('<!--')) this.#out.push(...wrap(line, this.#width));
  }

  /** What else stands behind the language is for tests. */
  #code({ indent = '', fence = '', language = '' }: Record<string, string>): void {
    this.#out.push(`${indent}${fence}${language}`);
    for (this.#at += 1; this.#at < this.#lines.length; this.#at += 1) {
      const line = this.#lines[this.#at] ?? '';
      this.#out.push(line);
      if (line.trim().startsWith(fence)) break;
    }
    this.#at += 1;
  }

  #prose(line: string): void {
    const { marker = '', text = line } = (LIST_ITEM.exec(line) ?? QUOTE.exec(line))?.groups ?? {};
    const isQuote = marker.startsWith('>');
    const parts = [text];
    for (this.#at += 1; this.#at < this.#lines.length; this.#at += 1) {
      const next = this.#lines[this.#at] ?? '';
      const quoted = QUOTE.exec(next)?.groups?.['text'];
      if (ALONE.test(next) || FENCE.test(next) || TABLE_ROW.test(next) || LIST_ITEM.test(next)) break;
      if (quoted === undefined ? isQuote : !isQuote || quoted === '') break;
      parts.push(quoted ?? next);
    }
    const words = parts.map((part) => part.trim()).join(' ');
    const lead = isQuote ? marker : ' '.repeat(marker.length);
    this.#out.push(
      ...wrap(words, this.#width - marker.length).map((each, index) => (index === 0 ? marker : lead) + each),
    );
  }

  #table(): void {
    const rows: string[][] = [];
    for (; TABLE_ROW.test(this.#lines[this.#at] ?? ''); this.#at += 1) {
      const line = this.#lines[this.#at] ?? '';
      if (!TABLE_LINE.test(line)) rows.push(cellsOf(line));
    }
    const [head = [], ...body] = rows;
    const shown = table(head, body, this.#width).split('\n');
    const fits = shown.every((line) => stripVTControlCharacters(line).length <= this.#width);
    if (fits) this.#out.push(...shown);
    else this.#out.push(colors.dim(head[0] ?? ''), ...body.flatMap((row) => this.#record(head, row)));
  }

  /** A row of a table that has no room: its first cell, and below it each other one with the title of its column. */
  #record(head: readonly string[], [name = '', ...cells]: readonly string[]): string[] {
    const told = cells.flatMap((cell, index) => (cell === '' ? [] : [`${head[index + 1] ?? ''}: ${cell}`]));
    const below = told.flatMap((each) =>
      wrap(each, this.#width - 4).map((line, index) => (index === 0 ? '  ' : '    ') + line),
    );
    return [...wrap(name, this.#width), ...below];
  }
}

/** A bar behind a backslash is a part of its cell. */
function cellsOf(line: string): string[] {
  return line
    .trim()
    .replace(/^\|/, '')
    .replace(/\|$/, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));
}
