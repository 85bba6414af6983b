/**
 * Names of the sockets in a slot's folder. workerd runs with that folder as its working folder, so one
 * encoded config fits every slot.
 *
 * workerd listens on the first group (gateways and the agent connect); the agent listens on the second
 * (user code reaches out through bindings and `fetch`).
 */

/** Name of the instance's socket on workerd's command line. */
export const INSTANCE_SOCKET = 'instance';
export const INSTANCE_SOCKET_FILE = 'w.sock';
/** RPC and fetch of service bindings, to the default export. */
export const RPC_SOCKET = 'r.sock';
/** The same, to the exported class at `index` of the version's `entrypoints`. */
export const rpcSocket = (index: number): string => `r${index}.sock`;
/** Events that the agent tells of: lifecycle hooks. Only where a version takes any. */
export const EVENTS_SOCKET = 'v.sock';

/** Outbound requests as to a proxy. */
export const EGRESS_SOCKET = 'e.sock';
/** What `caches` leads to, as to a proxy. */
export const CACHE_SOCKET = 'c.sock';
/** Binding at `index` of the version's `bindings`. */
export const bindingSocket = (index: number): string => `b${index}.sock`;
