/** Reads the Host header of a request. Pure. */

export type HostKind =
  | { readonly kind: 'bare' }
  /** `<function>.<base>`, `<function>.<account>.<base>`, each with an optional `<alias>--` in front. */
  | {
      readonly kind: 'function';
      readonly host: string;
      readonly account: string;
      readonly name: string;
      readonly alias: string;
    }
  | { readonly kind: 'other'; readonly host: string };

const DEFAULT_ACCOUNT = 'default';
export const DEFAULT_ALIAS = 'live';
const ALIAS_MARK = '--';

/** `Hello.LOCALHOST.:8787` → `hello.localhost`; an IPv6 literal keeps its brackets. */
export function hostName(host: string): string {
  const lower = host.toLowerCase();
  const portAt = lower.startsWith('[') ? lower.indexOf(':', lower.indexOf(']')) : lower.indexOf(':');
  const name = portAt < 0 ? lower : lower.slice(0, portAt);
  return name.endsWith('.') ? name.slice(0, -1) : name;
}

/** @param baseDomain - lower case, without port. Health checks reach the gateway by address, too. */
export function readHost(header: string, baseDomain: string): HostKind {
  const host = hostName(header);
  if (host === baseDomain || host === '127.0.0.1' || host === '[::1]') return { kind: 'bare' };
  if (!host.endsWith(`.${baseDomain}`)) return { kind: 'other', host };
  const labels = host.slice(0, -baseDomain.length - 1).split('.');
  const [first, account = DEFAULT_ACCOUNT] = labels;
  if (first === undefined || labels.length > 2) return { kind: 'other', host };
  return { kind: 'function', host, account, ...readLabel(first) };
}

/** `<function>` or `<alias>--<function>`, the first label of a function's own host. */
export function readLabel(label: string): { readonly name: string; readonly alias: string } {
  // Names hold no `--`, so the first one separates.
  const mark = label.indexOf(ALIAS_MARK);
  return mark < 0
    ? { name: label, alias: DEFAULT_ALIAS }
    : { name: label.slice(mark + ALIAS_MARK.length), alias: label.slice(0, mark) };
}

/**
 * The account that has every host at or below a domain under the base. `team.BASE` is a function of account `default`
 * and lies above the functions of account `team`, whether that exists yet or not: nobody has it alone.
 *
 * @param prefix - what stands before the base domain.
 */
export function accountOfDomain(prefix: string): string | undefined {
  const labels = prefix.split('.');
  const account = labels.at(-1);
  return labels.length > 1 || account === DEFAULT_ACCOUNT ? account : undefined;
}
