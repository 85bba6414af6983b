const EVENTS = 10;
const PAUSE_MS = 500;

/** Server-sent events: `isoplane invoke NAME` shows them as they come. */
export default {
  async fetch(): Promise<Response> {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    void send(writable.getWriter());
    return new Response(readable, {
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
    });
  },
};

async function send(writer: WritableStreamDefaultWriter<Uint8Array>): Promise<void> {
  const encoder = new TextEncoder();
  for (let id = 1; id <= EVENTS; id += 1) {
    await writer.write(
      encoder.encode(`id: ${id}\ndata: ${JSON.stringify({ at: new Date().toISOString() })}\n\n`),
    );
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  await writer.close();
}
