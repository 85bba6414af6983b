/**
 * Calls the lifecycle hooks of an instance on its own socket, which lies in the slot's folder: no gateway and
 * no other instance can reach it. What comes back was written by user code and is believed in nothing but
 * the failure of its own instance.
 */
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import type { Hooks } from '#shared/contracts/config.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import { addressAt } from '#shared/contracts/address.ts';
import { connectTo } from '#shared/runtime/transport.node.ts';
import { HOOKS_SOCKET } from '../slots/sockets.ts';

type HookName = keyof Hooks;

export type HookOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly message: string; readonly stack: string | undefined }
  /** The connection broke: the process is gone or about to be, and its end tells why. */
  | { readonly kind: 'lost'; readonly message: string };

export interface HookCall {
  /** Folder of the slot. */
  readonly folder: string;
  readonly name: HookName;
  /** Of the program: the socket alone is not enough, since user code finds the class behind it. */
  readonly secret: string;
  readonly timeoutMs: number;
  readonly timers: Timers;
}

/** Message and stack of an exception; more is cut off. */
const ANSWER_BYTES_MAX = 65_536;
const failureSchema = z.object({
  message: z.string().max(ANSWER_BYTES_MAX),
  stack: z.string().max(ANSWER_BYTES_MAX).optional(),
});

/** Resolves within `timeoutMs`. Never rejects. */
export function callHook({ folder, name, secret, timeoutMs, timers }: HookCall): Promise<HookOutcome> {
  return new Promise((resolve) => {
    const finish = (outcome: HookOutcome): void => {
      timer.cancel();
      outgoing.destroy();
      resolve(outcome);
    };
    const failed = (message: string): void => finish({ kind: 'failed', message, stack: undefined });
    const timer = timers.after(timeoutMs, () => failed(`\`${name}\` did not finish within ${timeoutMs} ms`));
    const outgoing = request(
      {
        createConnection: () => connectTo(addressAt(join(folder, HOOKS_SOCKET))),
        method: 'POST',
        path: `/${secret}/${name}`,
        headers: { host: 'hooks', 'content-length': 0 },
      },
      (incoming) => readAnswer(incoming, name, finish),
    );
    const lost = (): void => finish({ kind: 'lost', message: `the instance ended during \`${name}\`` });
    outgoing.on('error', lost);
    outgoing.end();
  });
}

function readAnswer(incoming: IncomingMessage, name: HookName, finish: (outcome: HookOutcome) => void): void {
  const chunks: Buffer[] = [];
  let length = 0;
  const end = (): void => {
    if (incoming.statusCode === 204) finish({ kind: 'done' });
    else finish(failureOf(Buffer.concat(chunks).toString('utf8'), name));
  };
  incoming.on('data', (chunk: Buffer) => {
    length += chunk.byteLength;
    if (length > ANSWER_BYTES_MAX) end();
    else chunks.push(chunk);
  });
  incoming.once('end', end);
  incoming.once('error', end);
}

function failureOf(text: string, name: HookName): HookOutcome {
  try {
    const { message, stack } = failureSchema.parse(JSON.parse(text));
    return { kind: 'failed', message: `\`${name}\` threw ${message}`, stack };
  } catch {
    return { kind: 'failed', message: `\`${name}\` failed`, stack: undefined };
  }
}
