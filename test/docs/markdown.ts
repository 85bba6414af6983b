/** Fenced code of a Markdown page. */

export interface Snippet {
  /** `docs/signing.md:70`. */
  readonly at: string;
  /** First word after the fence: `sh`, `jsonc`, …; empty when there is none. */
  readonly language: string;
  /** The rest of that line: what is not rendered, and tells how to run it. */
  readonly note: string;
  /** Heading above it. */
  readonly heading: string;
  readonly text: string;
}

export function snippetsOf(name: string, page: string): Snippet[] {
  const found: Snippet[] = [];
  let heading = '';
  let open: { line: number; language: string; note: string; lines: string[] } | undefined;
  for (const [index, line] of page.split('\n').entries()) {
    const fence = /^```(\S*)\s*(.*)$/.exec(line);
    if (open === undefined) {
      heading = /^#+ (.*)$/.exec(line)?.[1] ?? heading;
      if (fence !== null)
        open = { line: index + 1, language: fence[1] ?? '', note: fence[2] ?? '', lines: [] };
    } else if (fence === null) open.lines.push(line);
    else {
      const { line: start, language, note, lines } = open;
      found.push({ at: `${name}:${start}`, language, note, heading, text: `${lines.join('\n')}\n` });
      open = undefined;
    }
  }
  return found;
}
