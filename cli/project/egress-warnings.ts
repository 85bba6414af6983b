/** Header rules of egress that can never apply: the function would call without its credential, in silence. */
import { egressRulesOf } from '#shared/contracts/egress.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';

interface Pattern {
  readonly host: string;
  /** Undefined: the pattern names none. */
  readonly port: string | undefined;
}

function patternOf(text: string): Pattern {
  const [, host = text, port] = /^(\[[^\]]*\]|[^:]*)(?::(\*|\d+))?$/.exec(text) ?? [];
  return { host, port };
}

/** Whether some host fits both. */
function shareHost(left: string, right: string): boolean {
  if (left === right || left === '*' || right === '*') return true;
  const within = (pattern: string, host: string): boolean =>
    pattern.startsWith('*.') && host.replace(/^\*/, '').endsWith(pattern.slice(1));
  return within(left, right) || within(right, left);
}

/** Without a port a header goes to 443 alone, an allowed host is reached at 80 and 443. */
function sharePort(header: Pattern, allowed: Pattern): boolean {
  if (header.port === '*' || allowed.port === '*') return true;
  const ports = allowed.port === undefined ? ['80', '443'] : [allowed.port];
  return ports.includes(header.port ?? '443');
}

export function egressWarnings(config: Pick<FunctionConfig, 'style' | 'egress'>): string[] {
  const { allow, headers } = egressRulesOf(config);
  const allowed = allow.map(patternOf);
  return headers.flatMap(({ host, header }) => {
    const pattern = patternOf(host);
    const reached = allowed.filter((entry) => shareHost(pattern.host, entry.host));
    if (reached.some((entry) => sharePort(pattern, entry))) return [];
    const other = reached.find((entry) => entry.port !== undefined);
    const advice =
      other === undefined
        ? `no entry of egress.allow matches ${host}`
        : pattern.port === undefined
          ? `without a port it is for 443, and egress.allow has port ${other.port}: write "${pattern.host}:${other.port}"`
          : `egress.allow does not have port ${pattern.port}`;
    return [`egress.headers: ${header} for ${host} is never added: ${advice}`];
  });
}
