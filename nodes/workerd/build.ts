/** From a runnable version to the workerd config of its instance. Pure. */
import { CF, SCHEME } from '#shared/contracts/invoke.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import { PlatformError } from '#shared/errors.ts';
import { parseVersionId } from '#shared/ids.ts';
import type { AttachmentKind, DeclaredBinding } from '../attachments/kind.ts';
import type { OpenBinding } from '../code/open-secrets.ts';
import { EVENTS_ENTRYPOINT, type EntryModules } from '../entry/pack.ts';
import {
  bindingSocket,
  CACHE_SOCKET,
  EGRESS_SOCKET,
  EVENTS_SOCKET,
  INSTANCE_SOCKET,
  RPC_SOCKET,
  rpcSocket,
} from '../slots/sockets.ts';
import type {
  WorkerdBinding,
  WorkerdConfig,
  WorkerdModule,
  WorkerdService,
  WorkerdSocket,
} from './config.ts';

/** Young generation of the smallest and the largest instances, in MB. */
const SEMI_SPACE_MB_MIN = 1;
const SEMI_SPACE_MB_MAX = 16;
/** Memory limit per MB of young generation. */
const MEMORY_MB_PER_SEMI_SPACE_MB = 128;

/**
 * Request objects hold memory outside the heap that V8 does not count and only a full collection frees, in
 * a pause that grows with their number. Small spaces make full collections frequent and short; a large live
 * heap wants a larger young generation, or everything is promoted (docs/adr/0011 has the measurements).
 * Naming an initial size switches the built-in compile cache off: 1.4 ms of start-up.
 */
function gcFlags(memoryMb: number): readonly string[] {
  const wanted = Math.floor(memoryMb / MEMORY_MB_PER_SEMI_SPACE_MB);
  const semiSpaceMb = Math.min(SEMI_SPACE_MB_MAX, Math.max(SEMI_SPACE_MB_MIN, wanted));
  return ['--initial-old-space-size=2', `--max-semi-space-size=${semiSpaceMb}`];
}

export interface BuildOptions {
  readonly entry: EntryModules;
  /** Opened secrets of the version's `env`. */
  readonly secrets: readonly OpenBinding[];
  /** CONNECT target that begins RPC; user code must not know it (facts of workerd: it opens a raw session). */
  readonly rpcHost: string;
  readonly kinds: readonly AttachmentKind[];
}

function bindingOf([name, value]: [string, unknown]): WorkerdBinding {
  return typeof value === 'string'
    ? { name, kind: 'text', text: value }
    : { name, kind: 'json', json: JSON.stringify(value) };
}

/** As Workers has it. Versions carry no tags here, but code may read the member. */
function versionMetadata({ id, versionMetadata: given }: Runnable): readonly WorkerdBinding[] {
  if (given === undefined) return [];
  const { binding, timestamp } = given;
  return [{ name: binding, kind: 'json', json: JSON.stringify({ id, tag: '', timestamp }) }];
}

/** Each a socket of the agent in the slot's folder: the socket is the identity. */
function declaredBindings(
  { id, bindings }: Runnable,
  { kinds, rpcHost }: BuildOptions,
): readonly DeclaredBinding[] {
  const bound = new Map(kinds.map(({ name, bound: kind }) => [name, kind]));
  return bindings.map((binding, index) => {
    const kind = bound.get(binding.kind);
    if (kind === undefined)
      throw new PlatformError(
        'internal',
        `${id} has a binding of kind ${binding.kind}, which this node does not know: it is of an earlier release than control`,
      );
    return kind.declare(binding, {
      service: `binding-${index}`,
      socketName: bindingSocket(index),
      rpcHost,
    });
  });
}

/** What every instance reaches without a binding. */
const AMBIENT: readonly WorkerdService[] = [
  // The implicit one would load the system's certificates and reach the network.
  { name: 'internet', kind: 'network', allow: [] },
  // Also where nothing may be reached: the proxy refuses with a code and a reason, workerd with neither.
  { name: 'egress', kind: 'external', style: 'proxy', socketName: EGRESS_SOCKET },
  { name: 'cache', kind: 'external', style: 'proxy', socketName: CACHE_SOCKET },
];

function values(runnable: Runnable, secrets: readonly OpenBinding[]): readonly WorkerdBinding[] {
  const secret = new Set(secrets.map(({ binding }) => binding));
  return [
    // A version that was published before the secret was made may have a variable of its name.
    ...Object.entries(runnable.vars)
      .filter(([name]) => !secret.has(name))
      .map(bindingOf),
    ...secrets.map(({ binding, value }) => bindingOf([binding, value])),
    ...versionMetadata(runnable),
  ];
}

function sockets({ entrypoints, hooks }: Runnable, rpcHost: string): readonly WorkerdSocket[] {
  const socket = { service: 'main', cfBlobHeader: CF, schemeHeader: SCHEME };
  const rpc = { ...socket, capnpConnectHost: rpcHost };
  return [
    { ...socket, name: INSTANCE_SOCKET },
    { ...rpc, name: 'rpc', socketName: RPC_SOCKET },
    ...entrypoints.map((entrypoint, index) => ({
      ...rpc,
      name: `rpc-${index}`,
      socketName: rpcSocket(index),
      entrypoint,
    })),
    ...(hooks.init === undefined && hooks.preStop === undefined
      ? []
      : [{ ...socket, name: 'events', socketName: EVENTS_SOCKET, entrypoint: EVENTS_ENTRYPOINT }]),
  ];
}

function namesOf(declared: readonly DeclaredBinding[], kind: WorkerdBinding['kind']): readonly string[] {
  return declared.flatMap(({ binding }) => (binding.kind === kind ? [binding.name] : []));
}

export interface BuiltConfig {
  readonly config: WorkerdConfig;
  /** Names the address at which the instance takes events of the agent. */
  readonly eventSecret: string;
  /** Begins the lines of its entry code on stdout. */
  readonly logMark: string;
}

export function buildWorkerdConfig(
  runnable: Runnable,
  modules: readonly WorkerdModule[],
  options: BuildOptions,
): BuiltConfig {
  const { entry, secrets, rpcHost } = options;
  const declared = declaredBindings(runnable, options);
  const { functionName, number } = parseVersionId(runnable.id);
  const { style, main, hooks, entrypoints, compatibilityFlags } = runnable;
  // Those of the assets are for gateways.
  const flags = compatibilityFlags.filter((flag) => !flag.startsWith('assets_'));
  const packed = entry.of({
    style,
    main,
    hooks,
    entrypoints,
    // All of one class, whatever they lead to.
    services: namesOf(declared, 'service'),
    namespace: namesOf(declared, 'kvNamespace')[0],
    connections: runnable.limits.connections,
    functionName,
    functionVersion: number,
  });
  const config: WorkerdConfig = {
    services: [
      {
        name: 'main',
        kind: 'worker',
        modules: [packed.main, ...modules],
        compatibilityDate: runnable.compatibilityDate,
        compatibilityFlags: flags,
        bindings: [...values(runnable, secrets), ...declared.map(({ binding }) => binding)],
        globalOutbound: 'egress',
        cacheApiOutbound: 'cache',
      },
      ...AMBIENT,
      ...declared.map(({ service }) => service),
    ],
    sockets: sockets(runnable, rpcHost),
    extension: packed.extension,
    v8Flags: [`--max-heap-size=${runnable.limits.memoryMb}`, ...gcFlags(runnable.limits.memoryMb)],
  };
  return { config, eventSecret: packed.eventSecret, logMark: packed.logMark };
}
