/** Sends every message back, text as text and bytes as bytes. */
export default {
  fetch(request: Request): Response {
    if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket')
      return new Response('Connect with a WebSocket client.\n', {
        status: 426,
        headers: { upgrade: 'websocket' },
      });
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    server.binaryType = 'arraybuffer';
    server.addEventListener('message', (event) => server.send(event.data));
    server.addEventListener('close', (event) => server.close(event.code === 1005 ? 1000 : event.code, 'bye'));
    return new Response(null, { status: 101, webSocket: client });
  },
};
