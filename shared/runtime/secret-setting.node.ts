/** Settings that are secrets: set, or in a file that another setting names. */
import { readFileSync } from 'node:fs';
import { PlatformError } from '../errors.ts';

/**
 * @param value - comes first.
 * @param setting - that names the file.
 * @throws {PlatformError} `config_invalid` when there is no such file, or nothing in it.
 */
export function secretOf(
  value: string | undefined,
  file: string | undefined,
  setting: string,
): string | undefined {
  if (value !== undefined || file === undefined) return value;
  const text = textOf(file, setting);
  if (text === '') throw new PlatformError('config_invalid', `${setting}: ${file} is empty`);
  return text;
}

function textOf(file: string, setting: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (thrown) {
    throw new PlatformError('config_invalid', `${setting}: ${file} cannot be read`, { cause: thrown });
  }
}
