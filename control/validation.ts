/** Schema failures as problem documents that list every problem with its path. */
import type { z } from 'zod';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import { plainIssue } from '#shared/field-problem.ts';
import { readJson } from './json.ts';

const PROBLEMS_MAX = 100;

export function parseOrRefuse<S extends z.ZodType>(
  schema: S,
  value: unknown,
  code: Extract<ErrorCode, 'bad_request' | 'config_invalid'>,
): z.infer<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues
    .slice(0, PROBLEMS_MAX)
    .map(plainIssue)
    .map(({ path, message }) => ({ path: path.map(String).join('.'), message }));
  const [first] = problems;
  throw new PlatformError(code, 'schema check failed', {
    ...(first === undefined
      ? {}
      : { publicDetail: first.path === '' ? first.message : `${first.path}: ${first.message}` }),
    extensions: { problems },
  });
}

/** @param what - is named in the refusal: `body`, `metadata part`. */
export function jsonOrRefuse(bytes: Uint8Array, what: string): unknown {
  const read = readJson(bytes);
  if (read.kind === 'value') return read.value;
  // Well-formed, but no value that this platform takes: as a value that breaks a schema.
  const code = read.kind === 'too_deep' ? 'config_invalid' : 'bad_request';
  throw new PlatformError(code, `${what} ${read.reason}`, {
    ...('cause' in read ? { cause: read.cause } : {}),
    publicDetail: `The ${what} ${read.reason}.`,
  });
}
