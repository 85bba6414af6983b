import type { EventContext } from './isoplane.ts';

interface Event {
  name?: string;
}

/** Called with the JSON body of a POST request; what it returns is the answer. */
export const handler = async (event: Event, context: EventContext): Promise<unknown> => {
  console.log('called', context.requestId);
  return { message: `Hello, ${event.name ?? 'world'}!`, version: context.functionVersion };
};
