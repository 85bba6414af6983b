/**
 * JSON from outside. Whoever stores what it was sent must refuse what its readers cannot walk: schemas,
 * JSON.stringify and canonical forms recurse, so nesting is bounded before anything is built.
 */

/** Far above what people write by hand, far below what recursion on any reader's stack can take. */
export const JSON_DEPTH_MAX = 64;

/** Deepest nesting of arrays and objects in a JSON text; 0 for a scalar. Linear, and never recursive. */
export function jsonDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (inString) {
      if (code === 0x5c) index += 1;
      else if (code === 0x22) inString = false;
    } else if (code === 0x22) inString = true;
    else if (code === 0x7b || code === 0x5b) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (code === 0x7d || code === 0x5d) depth -= 1;
  }
  return deepest;
}

export type ReadJson =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'refused'; readonly reason: string; readonly cause?: unknown }
  | { readonly kind: 'too_deep'; readonly reason: string };

/** @param bytes - UTF-8. Refused: other encodings, no JSON, and nesting beyond `depthMax`. */
export function readJson(bytes: Uint8Array, depthMax = JSON_DEPTH_MAX): ReadJson {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    return { kind: 'refused', reason: 'is not UTF-8', cause };
  }
  if (jsonDepth(text) > depthMax)
    return { kind: 'too_deep', reason: `is nested deeper than ${depthMax} levels` };
  try {
    return { kind: 'value', value: JSON.parse(text) };
  } catch (cause) {
    return { kind: 'refused', reason: 'is not JSON', cause };
  }
}
