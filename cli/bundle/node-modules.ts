/**
 * Which modules of Node.js the pinned workerd has at a compatibility date, and which flag brings one that is
 * missing. The bundler asks; a test asks the pinned binary the same, so an upgrade cannot go unnoticed.
 *
 * Source: `impliedByAfterDate` in workerd's compatibility-date.capnp and its api/node/node.h.
 */
import { isFlagOn } from '#shared/compatibility/flags.ts';

interface GatedModules {
  readonly flag: string;
  /** From this date on `nodejs_compat` implies the flag. */
  readonly since: string;
  readonly modules: readonly string[];
}

/** There whenever `nodejs_compat` is. */
const UNGATED = (
  '_stream_duplex _stream_passthrough _stream_readable _stream_transform _stream_writable _tls_common _tls_wrap ' +
  'assert assert/strict async_hooks buffer constants crypto diagnostics_channel dns dns/promises events ' +
  'fs/promises module net path path/posix path/win32 process querystring stream stream/consumers stream/promises ' +
  'stream/web string_decoder test timers timers/promises tls url util util/types zlib'
).split(' ');

const gate = (name: string, since: string, modules: string): GatedModules => ({
  flag: name,
  since,
  modules: modules.split(' '),
});

const GATED: readonly GatedModules[] = [
  gate('nodejs_compat_v2', '2024-09-23', 'sys'),
  gate(
    'enable_nodejs_http_modules',
    '2025-08-15',
    'http https _http_agent _http_client _http_common _http_incoming _http_outgoing',
  ),
  gate('enable_nodejs_http_server_modules', '2025-09-01', '_http_server'),
  gate('enable_nodejs_http2_module', '2025-09-01', 'http2'),
  gate('enable_nodejs_fs_module', '2025-09-15', 'fs'),
  gate('enable_nodejs_os_module', '2025-09-15', 'os'),
  gate('enable_nodejs_console_module', '2025-09-21', 'console'),
  gate('enable_nodejs_vm_module', '2025-10-01', 'vm'),
  gate('enable_nodejs_domain_module', '2025-12-04', 'domain'),
  gate('enable_nodejs_punycode_module', '2025-12-04', 'punycode'),
  gate('enable_nodejs_cluster_module', '2025-12-04', 'cluster'),
  gate('enable_nodejs_wasi_module', '2025-12-04', 'wasi'),
  gate('enable_nodejs_trace_events_module', '2025-12-04', 'trace_events'),
  gate('enable_nodejs_stream_wrap_module', '2026-01-29', '_stream_wrap'),
  gate('enable_nodejs_dgram_module', '2026-01-29', 'dgram'),
  gate('enable_nodejs_inspector_module', '2026-01-29', 'inspector inspector/promises'),
  gate('enable_nodejs_sqlite_module', '2026-01-29', 'sqlite'),
  gate('enable_nodejs_perf_hooks_module', '2026-03-17', 'perf_hooks'),
  gate('enable_nodejs_v8_module', '2026-03-17', 'v8'),
  gate('enable_nodejs_tty_module', '2026-03-17', 'tty'),
  gate('enable_nodejs_child_process_module', '2026-03-17', 'child_process'),
  gate('enable_nodejs_worker_threads_module', '2026-03-17', 'worker_threads'),
  gate('enable_nodejs_readline_module', '2026-03-17', 'readline readline/promises'),
  gate('enable_nodejs_repl_module', '2026-03-17', 'repl'),
];

const GATE_OF: ReadonlyMap<string, GatedModules> = new Map(
  GATED.flatMap((row) => row.modules.map((name) => [name, row] as const)),
);

/** All that workerd knows, without `node:`. */
export const NODE_MODULES: readonly string[] = [...UNGATED, ...GATE_OF.keys()].sort();

export type NodeModuleAnswer =
  | { readonly kind: 'there' }
  /** Naming the flag brings it; from the date on it is there without. */
  | { readonly kind: 'behind'; readonly flag: string; readonly since: string }
  /** Needs `nodejs_compat`, which is off. */
  | { readonly kind: 'off' }
  | { readonly kind: 'unknown' };

/** @param name - without `node:`. */
export function nodeModule(name: string, date: string, flags: readonly string[]): NodeModuleAnswer {
  const row = GATE_OF.get(name);
  if (row === undefined && !UNGATED.includes(name)) return { kind: 'unknown' };
  const first = isFlagOn('nodejs_compat', date, flags);
  const second = isFlagOn('nodejs_compat_v2', date, flags);
  if (!first && !second) {
    // `node:process` is there always; AsyncLocalStorage has a smaller flag of its own.
    const alone = name === 'process' || (name === 'async_hooks' && flags.includes('nodejs_als'));
    return { kind: alone ? 'there' : 'off' };
  }
  if (row === undefined || flags.includes(row.flag)) return { kind: 'there' };
  if (row.flag === 'nodejs_compat_v2' && second) return { kind: 'there' };
  const refused = row.flag.replace(/^enable_/, 'disable_');
  if (flags.includes(refused)) return { kind: 'behind', flag: row.flag, since: row.since };
  // The modules follow the first flag alone; the server half of node:http follows the client half.
  const implied =
    date >= row.since &&
    (first ||
      (row.flag === 'enable_nodejs_http_server_modules' && flags.includes('enable_nodejs_http_modules')));
  return implied ? { kind: 'there' } : { kind: 'behind', flag: row.flag, since: row.since };
}
