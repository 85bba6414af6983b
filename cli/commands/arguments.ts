/** Checks of what stands on the command line; each failure names the argument and its law. */
import type { z } from 'zod';
import { CliError, EXIT } from '../failure.ts';

export function argument<S extends z.ZodType>(label: string, value: unknown, schema: S): z.infer<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const law = parsed.error.issues.map((issue) => issue.message).join('; ');
  throw usage(`${label}: ${law} (given: ${JSON.stringify(value)})`);
}

export function usage(message: string, advice?: string): CliError {
  return new CliError('usage', message, {
    exitCode: EXIT.usage,
    ...(advice === undefined ? {} : { advice }),
  });
}
