/** From a runnable version to the workerd config of its instance. Pure. */
import { SCHEME } from '#shared/contracts/invoke.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import { parseVersionId } from '#shared/ids.ts';
import type { OpenBinding } from '../code/open-secrets.node.ts';
import { HOOKS_ENTRYPOINT, RATE_LIMIT, type EntryModules } from '../entry/pack.node.ts';
import {
  ASSETS_SOCKET,
  CACHE_SOCKET,
  EGRESS_SOCKET,
  HOOKS_SOCKET,
  INSTANCE_SOCKET,
  kvSocket,
  rateLimitSocket,
  RPC_SOCKET,
  rpcSocket,
  serviceSocket,
} from '../slots/sockets.ts';
import type {
  WorkerdBinding,
  WorkerdConfig,
  WorkerdModule,
  WorkerdService,
  WorkerdSocket,
} from './config.ts';

/** The gateway deletes every `isoplane-` header from outside, so `request.cf` is always undefined. */
const CF_HEADER = 'isoplane-cf';

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

/** Sockets of the agent in the slot's folder, one per binding: the socket is the identity. */
function externals(runnable: Runnable, rpcHost: string): readonly WorkerdService[] {
  const host = { kind: 'external', style: 'host' } as const;
  return [
    // Also where nothing may be reached: the proxy refuses with a code and a reason, workerd with neither.
    { name: 'egress', kind: 'external', style: 'proxy', socketName: EGRESS_SOCKET },
    { name: 'cache', kind: 'external', style: 'proxy', socketName: CACHE_SOCKET },
    ...runnable.services.map((_, index) => ({
      ...host,
      name: `service-${index}`,
      socketName: serviceSocket(index),
      capnpConnectHost: rpcHost,
      schemeHeader: SCHEME,
    })),
    ...runnable.kv.map((_, index) => ({ ...host, name: `kv-${index}`, socketName: kvSocket(index) })),
    ...runnable.rateLimits.map((_, index) => ({
      ...host,
      name: `rate-limit-${index}`,
      socketName: rateLimitSocket(index),
    })),
    ...(runnable.assetsBinding === undefined ? [] : [{ ...host, name: 'assets', socketName: ASSETS_SOCKET }]),
  ];
}

function bindings(runnable: Runnable, secrets: readonly OpenBinding[]): readonly WorkerdBinding[] {
  const secret = new Set(secrets.map(({ binding }) => binding));
  return [
    // A version that was published before the secret was made may have a variable of its name.
    ...Object.entries(runnable.vars)
      .filter(([name]) => !secret.has(name))
      .map(bindingOf),
    ...secrets.map(({ binding, value }) => bindingOf([binding, value])),
    ...versionMetadata(runnable),
    ...runnable.services.map(
      ({ binding }, index) => ({ name: binding, kind: 'service', service: `service-${index}` }) as const,
    ),
    ...runnable.kv.map(
      ({ binding }, index) => ({ name: binding, kind: 'kvNamespace', service: `kv-${index}` }) as const,
    ),
    ...runnable.rateLimits.map(
      ({ binding }, index) =>
        ({
          name: binding,
          kind: 'wrapped',
          module: RATE_LIMIT,
          agent: { service: `rate-limit-${index}` },
        }) as const,
    ),
    ...(runnable.assetsBinding === undefined
      ? []
      : [{ name: runnable.assetsBinding.binding, kind: 'service', service: 'assets' } as const]),
  ];
}

function sockets({ entrypoints, hooks }: Runnable, rpcHost: string): readonly WorkerdSocket[] {
  const socket = { service: 'main', cfBlobHeader: CF_HEADER, schemeHeader: SCHEME };
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
      : [{ ...socket, name: 'hooks', socketName: HOOKS_SOCKET, entrypoint: HOOKS_ENTRYPOINT }]),
  ];
}

export interface BuiltConfig {
  readonly config: WorkerdConfig;
  /** Begins the path of calls to the version's hooks. */
  readonly hookSecret: string;
  /** Begins the lines of its entry code on stdout. */
  readonly logMark: string;
}

export function buildWorkerdConfig(
  runnable: Runnable,
  modules: readonly WorkerdModule[],
  { entry, secrets, rpcHost }: BuildOptions,
): BuiltConfig {
  const { functionName, number } = parseVersionId(runnable.id);
  const { style, main, hooks, entrypoints, services, kv, assetsBinding, compatibilityFlags } = runnable;
  // Those of the assets are for gateways.
  const flags = compatibilityFlags.filter((flag) => !flag.startsWith('assets_'));
  const packed = entry.of({
    style,
    main,
    hooks,
    entrypoints,
    // The binding to static assets is of the same class.
    services: [...services, ...(assetsBinding === undefined ? [] : [assetsBinding])].map(
      ({ binding }) => binding,
    ),
    namespace: kv[0]?.binding,
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
        bindings: bindings(runnable, secrets),
        globalOutbound: 'egress',
        cacheApiOutbound: 'cache',
      },
      // The implicit one would load the system's certificates and reach the network.
      { name: 'internet', kind: 'network', allow: [] },
      ...externals(runnable, rpcHost),
    ],
    sockets: sockets(runnable, rpcHost),
    extension: packed.extension,
    v8Flags: [`--max-heap-size=${runnable.limits.memoryMb}`, ...gcFlags(runnable.limits.memoryMb)],
  };
  return { config, hookSecret: packed.hookSecret, logMark: packed.logMark };
}
