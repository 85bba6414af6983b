/**
 * What the agent tells an instance that is no request of a caller: lifecycle hooks today. Behind a socket of its own in
 * the slot's folder (instances/events.ts).
 */
import entrypoints from 'cloudflare-internal:workers';
import type { EntrypointClass } from './classes.worker.ts';
import { logException } from './console.worker.ts';
import * as intact from './intact.worker.ts';

const { WorkerEntrypoint } = entrypoints;

/** Of one kind of event; `event` is what the agent sent. What it throws is the outcome. */
export type EventTaker = (event: Readonly<Record<string, unknown>>, env: unknown) => unknown;

/**
 * The class behind the socket.
 *
 * @param takers - by kind, without a prototype: what it inherits would be the user's.
 * @param secret - names the only address that is answered: user code finds the class in `ctx.exports`.
 */
export function takeEvents(
  takers: Readonly<Record<string, EventTaker | undefined>>,
  secret: string,
): EntrypointClass {
  const address = `http://events/${secret}`;
  class AgentEvents extends WorkerEntrypoint {
    override async fetch(request: Request): Promise<Response> {
      if (intact.urlOf(request) !== address) return respond(404, '');
      try {
        const event = intact.parseJson(await intact.readText(request)) as Record<string, unknown>;
        const kind = intact.toText(event['kind']);
        const take = takers[kind];
        if (take === undefined) throw new intact.NativeTypeError(`nothing here takes events of kind ${kind}`);
        await take(event, this.env);
        return respond(200, '{"outcome":"done"}');
      } catch (thrown) {
        const { message, stack } = logException(thrown);
        const rest = stack === undefined ? '' : `,"stack":${intact.quoted(stack)}`;
        return respond(200, `{"outcome":"failed","message":${intact.quoted(message)}${rest}}`);
      }
    }
  }
  return AgentEvents as unknown as EntrypointClass;
}

function respond(status: number, body: string): Response {
  return new intact.NativeResponse(body, intact.setPrototypeOf({ status }, null) as ResponseInit);
}
