const EVENTS_MAX = 100;
const PERIOD_MS = 100;

/** Server-sent events: `/?count=N` sends N ticks, one every 100 ms, while the response stays open. */
export default {
  fetch(request: Request): Response {
    const asked = Number(new URL(request.url).searchParams.get('count') ?? 5);
    const count = Math.min(EVENTS_MAX, Number.isInteger(asked) && asked > 0 ? asked : 5);
    const encoder = new TextEncoder();
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (sent > 0) await scheduler.wait(PERIOD_MS);
        sent += 1;
        controller.enqueue(
          encoder.encode(`id: ${sent}\nevent: tick\ndata: ${JSON.stringify({ tick: sent })}\n\n`),
        );
        if (sent === count) controller.close();
      },
      cancel() {
        console.log(`client left after ${sent} events`);
      },
    });
    return new Response(body, {
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
    });
  },
};
