/** "Did you mean": the known name that is closest to what was typed. Pure. */

const LENGTH_MAX = 64;

/** The known name within two edits (or equal but for case and separators), else undefined. */
export function closest(typed: string, known: readonly string[]): string | undefined {
  const bare = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  let best: { name: string; distance: number } | undefined;
  for (const name of known) {
    // It is there: whatever failed, another one was not meant.
    if (name === typed) return undefined;
    const distance = bare(name) === bare(typed) ? 0 : editDistance(bare(typed), bare(name));
    if (
      distance <= 2 &&
      2 * distance < Math.max(name.length, typed.length) &&
      (best === undefined || distance < best.distance)
    )
      best = { name, distance };
  }
  return best?.name;
}

/** ` Did you mean "x"?`, or nothing. */
export function didYouMean(typed: string, known: readonly string[]): string {
  const guess = closest(typed, known);
  return guess === undefined ? '' : ` Did you mean "${guess}"?`;
}

/** Edits and transpositions of neighbours (optimal string alignment); long texts are never close. */
function editDistance(left: string, right: string): number {
  if (left.length > LENGTH_MAX || right.length > LENGTH_MAX) return LENGTH_MAX;
  let twoBack: number[] = [];
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      let best = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution);
      if (i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1])
        best = Math.min(best, (twoBack[j - 2] ?? 0) + 1);
      next.push(best);
    }
    twoBack = row;
    row = next;
  }
  return row[right.length] ?? 0;
}
