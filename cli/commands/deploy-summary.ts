/** What a deploy says at its end: where the function answers, and the command that calls it there. */
import colors from 'picocolors';
import type { PublishReply } from '#shared/contracts/api.ts';
import type { ControlApi } from '../client/api.ts';
import { authAt, hostUrl, routesTo, routeUrl } from '../client/addresses.ts';
import type { Connection } from '../client/connection.ts';
import { millisecondsText } from '../output.ts';
import type { Project } from '../project/project.ts';

export interface Address {
  readonly alias: string;
  /** Undefined: no address of it is known. */
  readonly url: URL | undefined;
}

/** Where the alias that was moved answers; without one the version answers nowhere. */
export async function addressOf(
  connection: Connection,
  api: ControlApi,
  { name, config }: Project,
  alias: string | undefined,
): Promise<Address> {
  if (alias === undefined) return { alias: 'live', url: undefined };
  if (config.defaultHost) return { alias, url: hostUrl(connection, { name, alias }) };
  const [route] = (await routesTo(api, { name, alias })) ?? [];
  return { alias, url: route === undefined ? undefined : routeUrl(connection, route) };
}

export function summary(
  project: Project,
  { version, deployment }: PublishReply,
  { alias, url }: Address,
  totalMs: number,
): string {
  const moved = deployment === undefined ? ' (no alias moved)' : ` is ${deployment.alias}`;
  const at = url === undefined ? '' : `  ${colors.cyan(url.href)}`;
  const lines = [
    `${colors.bold(project.name)} version ${version.number}${moved}${at}`,
    colors.dim(`took ${millisecondsText(totalMs)}; ${whoText(project, url)}`),
  ];
  if (deployment === undefined) return [...lines, howToServe(project.name, version.number)].join('\n');
  return [...lines, url === undefined ? noAddress(project.name, alias) : howToCall(project, alias, url)].join(
    '\n',
  );
}

const howToServe = (name: string, version: number): string =>
  `nothing serves it yet: isoplane aliases set ${name} preview ${version} gives it an address, isoplane rollback ${name} --to ${version} makes it live`;

const noAddress = (name: string, alias: string): string =>
  `it answers at its routes alone ("defaultHost": false): \`isoplane routes list\` shows them, isoplane routes add HOST '/*' ${name}${alias === 'live' ? '' : ` --alias ${alias}`} makes one`;

/** Files without code that anyone may read: `auth` has nothing to let in. */
const isOpenSite = ({ main, config }: Project): boolean =>
  main === undefined && config.assets?.auth === 'public';

function modeAt(project: Project, url: URL | undefined): string {
  return isOpenSite(project) ? 'public' : authAt(project.config, url?.pathname ?? '/');
}

function whoText(project: Project, url: URL | undefined): string {
  return isOpenSite(project) ? 'files for everyone' : `auth ${modeAt(project, url)}`;
}

function howToCall(project: Project, alias: string, url: URL): string {
  switch (modeAt(project, url)) {
    case 'public':
      return `call it: curl ${url.href}`;
    case 'jwt':
      return `call it: curl -H 'authorization: Bearer TOKEN' ${url.href}`;
    default: {
      const path = url.pathname === '/' ? '' : ` --path ${url.pathname}`;
      return `call it: isoplane invoke ${project.name}${alias === 'live' ? '' : ` --alias ${alias}`}${path}`;
    }
  }
}
