/** Turns schema issues into problems a person can act on: where, what, and which spelling was meant. */
import { findNodeAtLocation, type Node } from 'jsonc-parser';
import type { z } from 'zod';
import { plainIssue } from '#shared/field-problem.ts';
import type { Problem } from '../failure.ts';
import { closest } from '../guess.ts';
import { wranglerHint } from './wrangler-keys.ts';

export interface SourceText {
  readonly name: string;
  readonly text: string;
  /** Absent for TOML, whose parser keeps no positions. */
  readonly tree: Node | undefined;
}

export function problemsOf(error: z.ZodError, source: SourceText, knownKeys: readonly string[]): Problem[] {
  return error.issues.flatMap((issue) => issueProblems(issue, source, knownKeys));
}

function issueProblems(issue: z.core.$ZodIssue, source: SourceText, knownKeys: readonly string[]): Problem[] {
  const plain = plainIssue(issue);
  const path = plain.path.filter((part) => typeof part !== 'symbol');
  const where = path.length === 0 ? '' : `${path.join('.')}: `;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const guess = closest(key, knownKeys);
      const hint = wranglerHint(key, path) ?? (guess === undefined ? undefined : `did you mean "${guess}"?`);
      return {
        at: position(source, [...path, key]),
        message: `${where}unknown key "${key}"`,
        ...(hint === undefined ? {} : { hint }),
      };
    });
  }
  // Of a record's keys: what is wrong with the name is one level down.
  const { message } = issue.code === 'invalid_key' ? (issue.issues[0] ?? issue) : plain;
  return [{ at: position(source, path), message: `${where}${message}` }];
}

/** `file:line:column` of the value at `path`, or of its nearest existing parent. */
export function position(source: SourceText, path: readonly (string | number)[]): string {
  if (source.tree === undefined) return source.name;
  for (let length = path.length; length >= 0; length -= 1) {
    const node = findNodeAtLocation(source.tree, path.slice(0, length));
    if (node !== undefined) {
      const property = node.parent?.type === 'property' ? node.parent : node;
      return `${source.name}:${lineAndColumn(source.text, property.offset)}`;
    }
  }
  return source.name;
}

export function lineAndColumn(text: string, offset: number): string {
  const before = text.slice(0, offset).split('\n');
  return `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`;
}
