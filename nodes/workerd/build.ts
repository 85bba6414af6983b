/** From a runnable version to the workerd config of its instance. Pure. */
import type { Runnable } from '#shared/contracts/feed.ts';
import { parseVersionId } from '#shared/ids.ts';
import type { EntryModules } from '../entry/pack.node.ts';
import type { WorkerdBinding, WorkerdConfig, WorkerdModule } from './config.ts';

/** Name of the socket on workerd's command line. */
export const INSTANCE_SOCKET = 'instance';
/** The gateway deletes every `isoplane-` header from outside, so `request.cf` is always undefined. */
const CF_HEADER = 'isoplane-cf';

/** Flags that give the entry module AsyncLocalStorage; several of them at once are refused by workerd. */
const ALS_FLAGS = ['nodejs_als', 'nodejs_compat', 'nodejs_compat_v2'];

/**
 * Request objects hold memory outside the heap that V8 does not count and only a full collection frees.
 * With V8's own sizes a hello world under load grew to 215–305 MB; with these to 60 MB, at the same CPU
 * per request (measured, 10,000 requests/s). The price is the built-in compile cache: 4 ms of start-up.
 */
const GC_FLAGS = ['--initial-old-space-size=2', '--max-semi-space-size=2'];

function bindingOf([name, value]: [string, unknown]): WorkerdBinding {
  return typeof value === 'string'
    ? { name, kind: 'text', text: value }
    : { name, kind: 'json', json: JSON.stringify(value) };
}

export function buildWorkerdConfig(
  runnable: Runnable,
  modules: readonly WorkerdModule[],
  entry: EntryModules,
): WorkerdConfig {
  const { functionName, number } = parseVersionId(runnable.id);
  const flags = runnable.compatibilityFlags;
  return {
    services: [
      {
        name: 'main',
        kind: 'worker',
        modules: [
          ...entry.of({ style: runnable.style, main: runnable.main, functionName, functionVersion: number }),
          ...modules,
        ],
        compatibilityDate: runnable.compatibilityDate,
        compatibilityFlags: flags.some((flag) => ALS_FLAGS.includes(flag)) ? flags : [...flags, 'nodejs_als'],
        bindings: Object.entries(runnable.vars).map(bindingOf),
        globalOutbound: 'internet',
      },
      // The implicit one would load the system's certificates and reach the network.
      { name: 'internet', kind: 'network', allow: [] },
    ],
    sockets: [{ name: INSTANCE_SOCKET, service: 'main', cfBlobHeader: CF_HEADER }],
    v8Flags: [`--max-heap-size=${runnable.limits.memoryMb}`, ...GC_FLAGS],
  };
}
