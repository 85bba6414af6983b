/** Schema failures as problem documents that list every problem with its path. */
import type { z } from 'zod';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';

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
    .map((issue) => ({ path: issue.path.map(String).join('.'), message: issue.message }));
  const [first] = problems;
  throw new PlatformError(code, 'schema check failed', {
    ...(first === undefined
      ? {}
      : { publicDetail: first.path === '' ? first.message : `${first.path}: ${first.message}` }),
    extensions: { problems },
  });
}
