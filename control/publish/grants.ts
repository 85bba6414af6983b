/**
 * What a version may be given: secrets and other things exist, and are for this function. Pure.
 *
 * A key that is limited to functions gives them only what their owner has said is theirs: otherwise it would read,
 * through code that it publishes, whatever the account has.
 */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { FieldProblem } from '#shared/field-problem.ts';
import type { FunctionName } from '#shared/ids.ts';
import { mayBind, type KnownSecrets } from '../db/secrets.ts';
import { PUBLISHED_KINDS, type NamedThings } from './bindings.ts';

interface GrantProblem extends FieldProblem {
  readonly code: Extract<ErrorCode, 'secret_not_found' | 'forbidden'>;
}

export interface GrantQuestion {
  readonly functionName: FunctionName;
  readonly config: FunctionConfig;
  readonly secrets: KnownSecrets;
  readonly things: NamedThings;
  /** Functions that the publishing key is limited to; undefined: it is not. */
  readonly limitedTo: readonly FunctionName[] | undefined;
}

/** `*.example.com` holds every pattern below it; a pattern with a port only that port. */
export function coversHost(granted: string, wanted: string): boolean {
  const split = (pattern: string): readonly [string, string | undefined] => {
    const port = /:(\*|\d+)$/.exec(pattern);
    return port === null ? [pattern, undefined] : [pattern.slice(0, port.index), port[1]];
  };
  const [host, port] = split(granted);
  const [wantedHost, wantedPort] = split(wanted);
  if (port !== '*' && port !== wantedPort) return false;
  if (host === '*' || host === wantedHost) return true;
  return host.startsWith('*.') && wantedHost.replace(/^\*/, '').endsWith(host.slice(1)) && wantedHost !== '*';
}

function headerProblems({
  functionName,
  config,
  secrets,
  limitedTo,
}: GrantQuestion): readonly GrantProblem[] {
  const { egress } = config;
  if (egress === undefined || typeof egress === 'string') return [];
  return egress.headers.flatMap(({ secret, host }, index): GrantProblem[] => {
    const path = `config.egress.headers.${index}.secret`;
    const row = secrets.account.find(({ name }) => name === secret);
    if (row === undefined)
      return [
        {
          path,
          message: `there is no secret ${secret} in the account; \`isoplane secrets put ${secret}\` makes it`,
          code: 'secret_not_found',
        },
      ];
    const { functions, hosts } = row;
    if (functions !== null ? !functions.includes(functionName) : limitedTo !== undefined)
      return [notFor({ path, ...secretGrant(secret), isListed: functions !== null }, functionName)];
    if (hosts !== null && !hosts.some((granted) => coversHost(granted, host)))
      return [
        {
          path,
          message: `secret ${secret} may not be sent to ${host}; with a key that is not limited, \`isoplane secrets put ${secret} --for-host ${host}\` sends it there (name the hosts that it goes to already, too)`,
          code: 'forbidden',
        },
      ];
    return [];
  });
}

function envProblems({ functionName, config, secrets, limitedTo }: GrantQuestion): readonly GrantProblem[] {
  return config.secrets.flatMap((entry, index): GrantProblem[] => {
    const { binding, secret } = bindingOfSecret(entry);
    const path = `config.secrets.${index}`;
    if (secrets.own.some(({ name }) => name === binding)) return [];
    const row = secrets.account.find(({ name }) => name === secret);
    if (row === undefined)
      return [
        {
          path,
          message: `there is no secret ${secret}; \`isoplane secrets put ${secret} --function ${functionName}\` makes it`,
          code: 'secret_not_found',
        },
      ];
    if (row.hosts !== null)
      return [
        {
          path,
          message: `secret ${secret} is for requests to certain hosts, so it is never in env; one of the function's own is: \`isoplane secrets put ${binding} --function ${functionName}\``,
          code: 'forbidden',
        },
      ];
    if (!mayBind(row, functionName) || (row.functions === null && limitedTo !== undefined))
      return [notFor({ path, ...secretGrant(secret), isListed: row.functions !== null }, functionName)];
    return [];
  });
}

function thingProblems({ functionName, things: named, limitedTo }: GrantQuestion): readonly GrantProblem[] {
  return named
    .flatMap(({ things }) => things)
    .flatMap(({ path, what, grant, id, functions }): GrantProblem[] => {
      // One that does not exist is refused elsewhere, with its own code.
      if (id === undefined) return [];
      const allowed = functions === null ? limitedTo === undefined : functions.includes(functionName);
      return allowed ? [] : [notFor({ path, what, grant, isListed: functions !== null }, functionName)];
    });
}

function callProblems({ functionName: own, config, limitedTo }: GrantQuestion): readonly GrantProblem[] {
  if (limitedTo === undefined) return [];
  return PUBLISHED_KINDS.flatMap((kind) => kind.calls?.(config) ?? []).flatMap(
    ({ path, functionName }): GrantProblem[] =>
      limitedTo.includes(functionName)
        ? []
        : [
            {
              path,
              message: `the key is limited to other functions than ${functionName}, and may bind those alone; a key that names both may: \`isoplane keys create NAME --role deployer --function ${own} --function ${functionName}\``,
              code: 'forbidden',
            },
          ],
  );
}

interface Ungranted {
  readonly path: string;
  readonly what: string;
  readonly grant: string;
  /** It is for certain functions, of which this is none. */
  readonly isListed: boolean;
}

const secretGrant = (secret: string) => ({
  what: `secret ${secret}`,
  grant: `isoplane secrets put ${secret}`,
});

function notFor({ path, what, grant, isListed }: Ungranted, functionName: FunctionName): GrantProblem {
  const why = isListed
    ? `${what} is not for ${functionName}`
    : `a key that is limited to functions may bind ${what} only when it names ${functionName}`;
  const how = `with a key that is not limited, \`${grant} --for-function ${functionName}\` gives it (name the other functions that need it, too)`;
  return { path, message: `${why}; ${how}`, code: 'forbidden' };
}

/** undefined: all is granted. What is missing comes before what is forbidden; each with every place. */
export function grantProblem(question: GrantQuestion): PlatformError | undefined {
  const problems = [
    ...headerProblems(question),
    ...envProblems(question),
    ...thingProblems(question),
    ...callProblems(question),
  ];
  const missing = problems.filter(({ code }) => code === 'secret_not_found');
  const told = missing.length > 0 ? missing : problems;
  const [first] = told;
  if (first === undefined) return undefined;
  return new PlatformError(first.code, told.map(({ path, message }) => `${path}: ${message}`).join('; '), {
    publicDetail: `${first.path}: ${first.message}`,
    extensions: { problems: told.map(({ path, message }) => ({ path, message })) },
  });
}
