/**
 * A request to a function. The connection goes to the gateway's address and the function's name travels in the
 * Host header (and in TLS), because not every machine resolves `*.localhost` and a gateway may be known by its
 * address alone. Where the gateway is known by the functions' own domain, the function's name is looked up.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { CliError, EXIT } from '../failure.ts';
import type { Connection } from './connection.ts';

export interface Outgoing {
  readonly target: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
}

export function sendToGateway(
  { platform, remote }: Connection,
  { target, method, headers, body }: Outgoing,
): Promise<IncomingMessage> {
  const gateway = new URL(platform.gatewayUrl);
  const isTls = gateway.protocol === 'https:';
  const byName = gateway.hostname === platform.baseDomain && platform.baseDomain !== 'localhost';
  const host = (byName ? target : gateway).hostname.replaceAll(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    const request = (isTls ? httpsRequest : httpRequest)({
      host,
      port: gateway.port === '' ? (isTls ? 443 : 80) : Number(gateway.port),
      path: `${target.pathname}${target.search}`,
      method,
      headers,
      agent: false,
      ...(isTls && isIP(target.hostname) === 0 ? { servername: target.hostname } : {}),
    });
    request.once('response', resolve);
    request.once('error', (error) =>
      reject(
        new CliError('gateway_unreachable', `The gateway at ${gateway.protocol}//${host} does not answer.`, {
          advice: remote
            ? `${error.message}. Is that where functions answer? ISOPLANE_GATEWAY_URL or \`isoplane login --gateway URL\` says another address.`
            : 'Start the platform with `npx isoplane up` (in the repository: `npm start`).',
          exitCode: EXIT.unreachable,
          cause: error,
        }),
      ),
    );
    request.end(body);
  });
}
