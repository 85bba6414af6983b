/**
 * The closed table of failures: a code fixes the HTTP status and what a retry may achieve, and says to callers
 * what happened and what to do. docs/errors.md is generated from it.
 */

interface ErrorRow {
  readonly status: number;
  /** `never`: the same request fails again; `elsewhere`: another instance may do; `later`: wait first. */
  readonly retry: 'never' | 'elsewhere' | 'later';
  /** Shown to callers: what happened and what to do; names no machine, path or other tenant. */
  readonly message: string;
}

export const ERRORS = {
  // Request shape
  bad_request: { status: 400, retry: 'never', message: 'The request is malformed.' },
  target_invalid: {
    status: 400,
    retry: 'never',
    message: 'The path or query of the request is malformed or ambiguous.',
  },
  header_invalid: { status: 400, retry: 'never', message: 'A request header is malformed or ambiguous.' },
  url_too_long: { status: 414, retry: 'never', message: 'The URL is longer than the platform accepts.' },
  headers_too_large: {
    status: 431,
    retry: 'never',
    message: 'The request headers are larger than the platform accepts.',
  },
  body_too_large: {
    status: 413,
    retry: 'never',
    message: 'The request body is larger than this function accepts (`limits.requestBodyBytes`).',
  },
  body_too_slow: {
    status: 408,
    retry: 'later',
    message: 'The request body arrived too slowly, so the request was given up.',
  },
  request_timeout: {
    status: 408,
    retry: 'later',
    message: 'The request did not arrive in time. Send it again on a new connection.',
  },
  not_implemented: {
    status: 501,
    retry: 'never',
    message: 'The platform knows no such method or transfer coding.',
  },
  version_not_supported: {
    status: 505,
    retry: 'never',
    message: 'The platform speaks HTTP/1.1 and HTTP/1.0 here.',
  },
  too_many_connections: {
    status: 503,
    retry: 'later',
    message: 'Too many connections are open. Close some, or retry after the given time.',
  },
  expectation_failed: {
    status: 417,
    retry: 'never',
    message: 'The header Expect asks for what is not offered. Send 100-continue, or leave it out.',
  },
  method_not_allowed: { status: 405, retry: 'never', message: 'This resource does not accept that method.' },
  not_found: { status: 404, retry: 'never', message: 'There is nothing at this address.' },

  // Who calls
  signature_missing: {
    status: 401,
    retry: 'never',
    message:
      'This address accepts signed requests only. Sign the request (RFC 9421), or use `isoplane invoke`.',
  },
  signature_invalid: { status: 401, retry: 'never', message: 'The request signature does not verify.' },
  signature_expired: {
    status: 401,
    retry: 'never',
    message: 'The request signature has expired. Sign again, and check the clock of the caller.',
  },
  signature_not_yet_valid: {
    status: 401,
    retry: 'never',
    message: 'The request signature is dated in the future. Check the clock of the caller.',
  },
  signature_replayed: {
    status: 401,
    retry: 'never',
    message: 'This signature was used before. Sign each request with a fresh nonce.',
  },
  replay_window_full: {
    status: 503,
    retry: 'later',
    message:
      'Too many signed requests of this key or account are remembered to rule out replays. Retry after the given time, or sign for shorter.',
  },
  digest_mismatch: { status: 401, retry: 'never', message: 'The Content-Digest does not match the body.' },
  token_missing: {
    status: 401,
    retry: 'never',
    message: 'A bearer token is required in the Authorization header.',
  },
  token_invalid: { status: 401, retry: 'never', message: 'The bearer token is not accepted.' },
  token_expired: { status: 401, retry: 'never', message: 'The bearer token has expired.' },
  misdirected: {
    status: 421,
    retry: 'never',
    message: 'The request is addressed to a host that this service does not answer for.',
  },
  forbidden: { status: 403, retry: 'never', message: 'This key may not do that.' },

  // What is called
  function_not_found: { status: 404, retry: 'never', message: 'No function answers at this address.' },
  function_disabled: { status: 403, retry: 'never', message: 'The function is disabled.' },
  share_full: {
    status: 429,
    retry: 'later',
    message: 'The account uses its whole share of what all accounts share. Retry after the given time.',
  },
  queue_full: {
    status: 429,
    retry: 'later',
    message: 'Too many requests wait for this function (`scaling.queueDepth`). Retry after the given time.',
  },
  queue_timeout: {
    status: 503,
    retry: 'later',
    message: 'No instance became free in time. Retry after the given time.',
  },
  instance_busy: {
    status: 503,
    retry: 'later',
    message: 'The instance has more to do than it takes. Nothing was sent to it; retry after the given time.',
  },
  no_capacity: {
    status: 503,
    retry: 'later',
    message: 'The platform has no room for another instance now. Retry after the given time.',
  },
  quarantined: {
    status: 503,
    retry: 'later',
    message:
      'The version keeps ending its instances and is held back for a while. Deploy a fixed version or retry later.',
  },
  code_unavailable: {
    status: 503,
    retry: 'later',
    message: 'The code of this version cannot be fetched right now. Retry after the given time.',
  },
  secret_unavailable: {
    status: 503,
    retry: 'later',
    message:
      'A sealed secret that this call needs cannot be opened. Set it, or make the key, again; or let the operator restore the key file.',
  },
  scheduler_unavailable: {
    status: 503,
    retry: 'later',
    message: 'The platform cannot start an instance right now. Retry after the given time.',
  },

  // How it went
  function_error: {
    status: 500,
    retry: 'never',
    message: 'The function threw an error. See its logs with the request id.',
  },
  startup_failed: {
    status: 500,
    retry: 'later',
    message: 'The function failed while starting. See its logs; it is tried again after the given time.',
  },
  cpu_exceeded: {
    status: 500,
    retry: 'never',
    message: 'The function used more CPU time than its limit (`limits.cpuMs`) and was stopped.',
  },
  memory_exceeded: {
    status: 500,
    retry: 'never',
    message: 'The function used more memory than its limit (`limits.memoryMb`) and was stopped.',
  },
  crashed: {
    status: 502,
    retry: 'elsewhere',
    message: 'The process of the function ended before it answered.',
  },
  response_invalid: {
    status: 502,
    retry: 'never',
    message: 'The function answered with headers that are too large or malformed.',
  },
  timeout: { status: 504, retry: 'never', message: 'The function did not answer in `limits.timeoutMs`.' },
  instance_lost: {
    status: 503,
    retry: 'elsewhere',
    message:
      'The instance was stopped while it handled this request, for a cause outside the request. Retry.',
  },

  evicted: {
    status: 503,
    retry: 'elsewhere',
    message: 'The platform stopped the instance before this request was done. Retry.',
  },
  call_depth_exceeded: {
    status: 508,
    retry: 'never',
    message: 'Functions call each other in a chain that is too long. Is there a circle?',
  },

  // What a function reaches
  egress_denied: {
    status: 403,
    retry: 'never',
    message: 'The rules of this function do not allow that address. See `egress` in its configuration.',
  },
  egress_failed: { status: 502, retry: 'later', message: 'The address could not be reached.' },
  egress_timeout: { status: 504, retry: 'later', message: 'The address did not answer in time.' },
  subrequests_exceeded: {
    status: 429,
    retry: 'never',
    message: 'The request caused more outbound requests than its limit.',
  },
  connections_exceeded: {
    status: 429,
    retry: 'later',
    message: 'The instance has as many outbound connections open as its limit allows.',
  },
  asset_unavailable: { status: 503, retry: 'later', message: 'The file cannot be read right now.' },
  binding_not_found: { status: 404, retry: 'never', message: 'The version has no such binding.' },
  kv_invalid: { status: 400, retry: 'never', message: 'The KV call is malformed.' },
  kv_value_too_large: { status: 413, retry: 'never', message: 'The KV value is larger than the limit.' },
  kv_full: { status: 507, retry: 'never', message: 'The account has no room left in KV.' },
  kv_unavailable: { status: 503, retry: 'later', message: 'KV cannot answer right now. Retry shortly.' },

  // Control API: names and references
  account_not_found: { status: 404, retry: 'never', message: 'There is no such account.' },
  version_not_found: { status: 404, retry: 'never', message: 'There is no such version of this function.' },
  alias_not_found: { status: 404, retry: 'never', message: 'There is no such alias of this function.' },
  layer_not_found: { status: 404, retry: 'never', message: 'There is no such layer version.' },
  key_not_found: { status: 404, retry: 'never', message: 'There is no such key.' },
  route_not_found: { status: 404, retry: 'never', message: 'There is no such route.' },
  secret_not_found: { status: 404, retry: 'never', message: 'There is no such secret.' },
  namespace_not_found: { status: 404, retry: 'never', message: 'There is no such KV namespace.' },
  blob_not_found: { status: 404, retry: 'never', message: 'There is no such blob.' },
  host_taken: {
    status: 409,
    retry: 'never',
    message:
      'Another account has routes on this host or on a wildcard that holds it. The operator can list and delete them.',
  },
  name_taken: { status: 409, retry: 'never', message: 'That name is already in use.' },
  in_use: {
    status: 409,
    retry: 'never',
    message: 'It is still referenced. Move or delete what refers to it first.',
  },
  conflict: {
    status: 409,
    retry: 'never',
    message: 'It changed since you read it. Read it again and repeat.',
  },
  no_previous_version: {
    status: 409,
    retry: 'never',
    message: 'There is no earlier deployment to roll back to.',
  },

  // Control API: what was uploaded
  config_invalid: { status: 422, retry: 'never', message: 'The configuration has problems; each is listed.' },
  compatibility_invalid: {
    status: 422,
    retry: 'never',
    message: 'The compatibility date or a compatibility flag is not supported.',
  },
  env_too_large: { status: 422, retry: 'never', message: 'The variables are larger than the limit.' },
  bundle_too_large: {
    status: 413,
    retry: 'never',
    message: 'The code, with its layers, is larger than the limit.',
  },
  asset_missing: { status: 422, retry: 'never', message: 'A file that is listed was not uploaded.' },
  assets_too_large: { status: 413, retry: 'never', message: 'The static assets exceed a limit.' },
  module_name_invalid: { status: 422, retry: 'never', message: 'A module name is not allowed.' },
  module_missing: { status: 422, retry: 'never', message: 'A module that the upload names is missing.' },
  publish_startup_failed: {
    status: 422,
    retry: 'never',
    message: 'The code did not start, so nothing was published and no alias moved.',
  },
  quota_exceeded: {
    status: 422,
    retry: 'never',
    message: 'The account has reached its limit for this kind of resource.',
  },

  // The platform
  node_unavailable: {
    status: 503,
    retry: 'later',
    message: 'No compute node is available to try the code. Nothing was changed; retry shortly.',
  },
  control_unavailable: {
    status: 503,
    retry: 'later',
    message: 'The control plane cannot answer right now. Nothing was changed; retry shortly.',
  },
  database_missing: {
    status: 503,
    retry: 'never',
    message: 'The database of the platform is missing. Its operator must restore it.',
  },
  database_behind: {
    status: 503,
    retry: 'later',
    message:
      'The database of the platform lost changes. Its operator must restore it; what is deployed goes on.',
  },
  database_busy: {
    status: 503,
    retry: 'later',
    message: 'The database is busy. Nothing was changed; retry shortly.',
  },
  database_unreachable: {
    status: 503,
    retry: 'later',
    message: 'The database of the platform does not answer. Nothing was changed; retry shortly.',
  },
  database_refused: {
    status: 503,
    retry: 'later',
    message:
      'The database of the platform does not let it in. Its operator must mend that; what is deployed goes on.',
  },
  database_foreign: {
    status: 503,
    retry: 'never',
    message: 'The database belongs to another platform. The operator must name the right one.',
  },
  database_taken: {
    status: 503,
    retry: 'never',
    message: 'Another control plane has taken over the database. The operator must stop one of the two.',
  },
  change_unknown: {
    status: 503,
    retry: 'never',
    message:
      'The database went away while it stored the change, which may or may not have been made. Look before you repeat it.',
  },
  database_corrupt: {
    status: 500,
    retry: 'never',
    message: 'The database is damaged. Restore it from a backup.',
  },
  blobs_unreachable: {
    status: 503,
    retry: 'later',
    message:
      'The store of the platform for code and files does not answer. Nothing was changed; retry shortly.',
  },
  blobs_refused: {
    status: 503,
    retry: 'later',
    message:
      'The store of the platform for code and files does not let it in. Its operator must mend that; what is deployed goes on.',
  },
  blobs_missing: {
    status: 503,
    retry: 'never',
    message:
      'The store of the platform for code and files is not there. Its operator must name the right one.',
  },
  blobs_foreign: {
    status: 503,
    retry: 'never',
    message:
      'The store for code and files belongs to another platform. The operator must name the right one.',
  },
  blob_corrupt: {
    status: 500,
    retry: 'never',
    message: 'Stored code does not match its digest. Publish it again.',
  },
  storage_full: {
    status: 507,
    retry: 'later',
    message: 'The platform has no disk space left. Nothing was changed.',
  },
  data_folder_in_use: {
    status: 500,
    retry: 'never',
    message: 'Another platform is running on this data folder.',
  },
  folder_not_private: { status: 500, retry: 'never', message: 'Others may enter a folder of the platform.' },
  address_unusable: { status: 500, retry: 'never', message: 'The platform cannot listen there.' },
  port_in_use: { status: 500, retry: 'never', message: 'A port that the platform needs is in use.' },
  internal: {
    status: 500,
    retry: 'never',
    message: 'The platform failed. The request id leads operators to the cause.',
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value);
}
