/** What an agent is started with: the only place of the plane that reads the environment. */
import { totalmem } from 'node:os';
import process from 'node:process';
import { layoutOf } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { readEnvironment } from '#shared/runtime/plane.node.ts';
import { secretOf } from '#shared/runtime/secret-setting.node.ts';
import type { AgentOptions } from './agent/parts.ts';
import { defaultCapacity, defaultReserveBytes, defaultSlots, nodeEnvironmentSchema } from './config.ts';

/** A group that the agent runs in may allow less than the machine has. */
function machineBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(totalmem(), constrained) : totalmem();
}

export function agentOptions(log: Log): AgentOptions {
  const environment = readEnvironment(nodeEnvironmentSchema);
  const memoryBytes = machineBytes();
  return {
    layout: layoutOf(environment.ISOPLANE_DATA_DIR),
    nodeId: environment.ISOPLANE_NODE_ID,
    slots: environment.ISOPLANE_SLOTS ?? defaultSlots(memoryBytes),
    ...(environment.ISOPLANE_SLOTS_MAX === undefined ? {} : { slotsMax: environment.ISOPLANE_SLOTS_MAX }),
    strictSlotsMax: environment.ISOPLANE_STRICT_SLOTS_MAX,
    ...(environment.ISOPLANE_STRICT_UIDS === undefined
      ? {}
      : { strictUids: environment.ISOPLANE_STRICT_UIDS }),
    capacity: environment.ISOPLANE_CAPACITY ?? defaultCapacity(memoryBytes),
    memoryReserveBytes: environment.ISOPLANE_MEMORY_RESERVE_BYTES ?? defaultReserveBytes(memoryBytes),
    sandbox: environment.ISOPLANE_SANDBOX,
    codeCacheBytes: environment.ISOPLANE_CODE_CACHE_BYTES,
    egress: {
      allowPrivate: environment.ISOPLANE_EGRESS_ALLOW_PRIVATE,
      dnsServers: environment.ISOPLANE_EGRESS_DNS,
    },
    kv: {
      ...(environment.ISOPLANE_KV_URL === undefined ? {} : { url: environment.ISOPLANE_KV_URL }),
      authToken: secretOf(
        environment.ISOPLANE_KV_AUTH_TOKEN,
        environment.ISOPLANE_KV_AUTH_TOKEN_FILE,
        'ISOPLANE_KV_AUTH_TOKEN_FILE',
      ),
      bytesMax: environment.ISOPLANE_KV_BYTES_MAX,
    },
    log,
  };
}
