/** Checks of what stands on the command line; each failure names the argument and its law. */
import type { z } from 'zod';
import { CliError, EXIT } from '../failure.ts';

export function argument<S extends z.ZodType>(label: string, value: unknown, schema: S): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw refused(label, value, parsed.error.issues);
}

/** A failure of the options of a command, whose names are those that commander gives them. */
export function refusedOptions(given: unknown, issues: readonly Issue[]): CliError {
  return refused(OPTIONS, given, issues);
}

type Issue = Pick<z.core.$ZodIssue, 'path' | 'message'>;
const OPTIONS = 'options';

function refused(label: string, value: unknown, issues: readonly Issue[]): CliError {
  return usage(
    issues.map(({ path, message }) => lawText(pathLabel(label, path), at(value, path), message)).join('; '),
  );
}

const GIVEN_LENGTH_MAX = 100;

/** `dataBody` of the options is `--data-body`; `functions.0` of a body is that body's. */
function pathLabel(label: string, path: readonly PropertyKey[]): string {
  const [first, ...rest] = path.map(String);
  if (first === undefined) return label;
  if (label === OPTIONS) return `--${first.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  return rest.length === 0 && first === 'name' ? label : `${label}, ${[first, ...rest].join('.')}`;
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === 'object' && inner !== null ? Reflect.get(inner, key) : undefined),
    value,
  );
}

function lawText(label: string, value: unknown, law: string): string {
  if (Number.isNaN(value)) return `${label}: give a whole number`;
  const given = JSON.stringify(value) as string | undefined;
  if (given === undefined) return `${label}: ${law}`;
  return `${label}: ${law} (given: ${given.length > GIVEN_LENGTH_MAX ? `${given.slice(0, GIVEN_LENGTH_MAX)}…` : given})`;
}

export function usage(message: string, advice?: string): CliError {
  return new CliError('usage', message, {
    exitCode: EXIT.usage,
    ...(advice === undefined ? {} : { advice }),
  });
}
