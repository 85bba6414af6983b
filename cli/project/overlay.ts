/** isoplane.jsonc beside a wrangler file: adds to it, and says what it overrides. Pure. */

export interface Overlaid {
  readonly value: Readonly<Record<string, unknown>>;
  /** Paths whose value in the wrangler file does not count any more. */
  readonly overridden: readonly string[];
}

type Row = Readonly<Record<string, unknown>>;

const isRow = (value: unknown): value is Row =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const bindingOf = (value: unknown): unknown => (isRow(value) ? value['binding'] : undefined);

/** Members of objects and bindings of lists are joined one by one; anything else is replaced whole. */
export function overlay(below: Row, above: Row): Overlaid {
  const value: Record<string, unknown> = { ...below };
  const overridden: string[] = [];
  for (const [key, own] of Object.entries(above)) {
    const other = below[key];
    if (isRow(own) && isRow(other)) {
      value[key] = { ...other, ...own };
      for (const name of Object.keys(own))
        if (name in other && !isSame(other[name], own[name])) overridden.push(`${key}.${name}`);
    } else if (
      Array.isArray(own) &&
      Array.isArray(other) &&
      own.every((entry) => bindingOf(entry) !== undefined)
    ) {
      const names = new Set(own.map(bindingOf));
      value[key] = [...other.filter((entry) => !names.has(bindingOf(entry))), ...own];
      for (const entry of other)
        if (names.has(bindingOf(entry))) overridden.push(`${key}.${String(bindingOf(entry))}`);
    } else {
      value[key] = own;
      if (other !== undefined && !isSame(other, own) && !isNothing(other)) overridden.push(key);
    }
  }
  return { value, overridden };
}

const isSame = (left: unknown, right: unknown): boolean => JSON.stringify(left) === JSON.stringify(right);
const isNothing = (value: unknown): boolean => Array.isArray(value) && value.length === 0;
