/** What a response head from an instance says beside HTTP. Pure; flat arrays of names and values in turn. */
import { OUTCOME } from '#shared/contracts/invoke.ts';

/** The handler threw; workerd's own bare answer to a promise that never settles counts too. */
export function isFunctionError(status: number, raw: readonly string[]): boolean {
  if (status !== 500) return false;
  const names = raw.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  const at = names.indexOf(OUTCOME);
  if (at >= 0) return raw[at * 2 + 1] === 'function_error';
  const others = names.filter((name) => name !== 'connection' && name !== 'keep-alive');
  const length = raw[names.indexOf('content-length') * 2 + 1];
  return (
    others.length === 1 && others[0] === 'content-length' && length === String('Internal Server Error'.length)
  );
}
