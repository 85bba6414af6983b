/** The platform in a process of its own, so that its CPU time and memory are the tree below one pid. */
import process from 'node:process';
import { startPlatform } from '#cli/up/platform.ts';
import { hostOptionsSchema, hostRequestSchema, type FromHost } from './platform-messages.ts';

const tell = (message: FromHost): void => void process.send?.(message);
const platform = await startPlatform(hostOptionsSchema.parse(JSON.parse(process.argv[2] ?? '{}')));
let closing = false;

async function close(): Promise<void> {
  if (closing) return;
  closing = true;
  await platform.close();
  process.exit(0);
}

process.on('message', (raw) => {
  const message = hostRequestSchema.parse(raw);
  if (message.type === 'close') {
    void close();
    return;
  }
  platform.nodeStatus().then(
    (status) => tell({ type: 'status', status }),
    (error: unknown) => tell({ type: 'failed', message: String(error) }),
  );
});
process.on('disconnect', () => void close());
tell({
  type: 'ready',
  gatewayUrl: platform.gatewayUrl,
  controlUrl: platform.controlUrl,
  credentialsPath: platform.credentialsPath,
  pids: platform.pids(),
});
