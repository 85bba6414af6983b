/**
 * Bounds that more than one plane must agree on. Each name ends in its unit. The relations below are
 * asserted at import, so a change that breaks one fails every test at once.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

export const LIMITS = {
  // Uploads
  /** Code of one version including its layers, in bytes after bundling. */
  bundleBytesMax: 32 * MIB,
  modulesPerVersionMax: 1_000,
  moduleNameBytesMax: 256,
  /** Serialised `vars` of one version, in bytes. */
  varsBytesMax: 64 * KIB,
  layersPerFunctionMax: 5,
  sourceMapBytesMax: 32 * MIB,
  /** Service bindings of one version, and as many KV bindings. */
  bindingsMax: 32,
  /** Calls of a key in a period of a rate-limit binding. */
  rateLimitMax: 1_000_000,
  /** Paths of one version with rules of their own about who may call. */
  authPathsMax: 100,

  /** Code that an account keeps, each file once, unless its ceilings say otherwise. */
  codePerAccountBytesDefault: 4 * 1024 * MIB,

  // Static assets
  /** Files of one version, and bytes of one of them. */
  assetsPerVersionMax: 20_000,
  assetBytesMax: 25 * MIB,
  /** All files of one version. */
  assetsBytesMax: 1024 * MIB,
  /** Files that an account keeps, each counted once, unless its ceilings say otherwise. */
  assetsPerAccountBytesDefault: 4 * 1024 * MIB,
  assetPathBytesMax: 1_024,
  /** Paths, digests and rules of one version. */
  assetManifestBytesMax: 8 * MIB,
  /** `_headers` and `_redirects`, each; and a line of them. */
  assetRuleFileBytesMax: 1024 * KIB,
  assetRuleLineBytesMax: 2_000,
  assetHeaderRulesMax: 100,
  /** Lines with a header in all of `_headers`: a response may have to carry each. */
  assetHeadersMax: 2_000,
  assetStaticRedirectsMax: 2_000,
  assetDynamicRedirectsMax: 100,
  /** Patterns of `runWorkerFirst`. */
  assetPatternsMax: 100,
  assetPatternBytesMax: 100,
  /** Files that one question for missing ones may name, and one upload may carry. */
  assetsPerCheckMax: 5_000,
  assetsPerUploadMax: 1_000,
  assetUploadBytesMax: 32 * MIB,

  secretsPerAccountMax: 1_000,
  secretsPerFunctionMax: 64,
  /** One secret; headers that carry it must fit those of requests. */
  secretBytesMax: 8 * KIB,

  // Requests at the gateway
  requestBodyBytesMax: 100 * MIB,
  requestBodyBytesDefault: 32 * MIB,
  urlBytesMax: 16 * KIB,
  headerBytesMax: 32 * KIB,
  /** Bodies that must be read whole to check a Content-Digest. */
  digestBodyBytesMax: 8 * MIB,
  /**
   * Slower bodies are given up: after the grace, the mean since the body began. Kestrel's rates; higher while
   * an instance waits for it.
   */
  bodyGraceMs: 5_000,
  bodyBytesPerSecondMin: 240,
  bodyInstanceGraceMs: 10_000,
  bodyInstanceBytesPerSecondMin: 4 * KIB,
  /** A client that takes nothing of its response for this long is cut off: it holds an instance. */
  clientStalledMsMax: 60_000,
  /** Name of the caller as the function gets it. */
  principalBytesMax: 1_024,

  // Per-function limits: defaults and platform maxima
  /**
   * A third of the default time limit: the test-suites of common libraries need 2 s, a Worker that moves here had 30.
   * A loop costs its account's node at most this, at low priority.
   */
  cpuMsDefault: 10_000,
  cpuMsMax: 300_000,
  timeoutMsDefault: 30_000,
  timeoutMsMax: 900_000,
  memoryMbDefault: 128,
  memoryMbMin: 32,
  memoryMbMax: 4_096,
  concurrencyDefault: 64,
  concurrencyMax: 1_000,
  maxInstancesDefault: 4,
  maxInstancesMax: 1_000,
  queueDepthDefault: 256,
  queueDepthMax: 10_000,
  queueTimeoutMsDefault: 10_000,
  queueTimeoutMsMax: 60_000,
  idleTimeoutMsDefault: 60_000,
  idleTimeoutMsMax: 24 * 3_600_000,
  /** Longest silence on an open response stream or WebSocket before it is cut. */
  streamIdleMsDefault: 300_000,
  streamIdleMsMax: 3_600_000,
  /** Outbound requests that one request may cause. */
  subrequestsDefault: 1_000,
  subrequestsMax: 100_000,
  /** Outbound connections that one instance may have open. */
  connectionsDefault: 64,
  connectionsMax: 1_000,
  /** Calls from function to function that one request may set off, one below the other. */
  callDepthMax: 32,
  /** After an alias has left a version, requests in flight may go on for this long. */
  drainMsDefault: 30_000,
  drainMsMax: 900_000,
  instanceAgeMsMin: 1_000,
  instanceAgeMsMax: 7 * 24 * 3_600_000,
  requestsPerInstanceMax: 1_000_000_000,
  /** Instances that an alias may keep ready. */
  provisionedMax: 1_000,
  /** From the call of an agent until the code listens: until its turn comes, and for its top level. */
  startMsMax: 25_000,
  hookTimeoutMsDefault: 5_000,
  hookTimeoutMsMax: 90_000,

  // Signatures
  signatureAgeMsMax: 300_000,
  signatureSkewMs: 30_000,
  nonceBytesMax: 128,

  // Leases and heartbeats
  leaseTtlMs: 10_000,
  heartbeatMs: 1_000,
  /** A gateway or node that was silent for this long is taken for dead. */
  memberDeadMs: 5_000,
  /** An event loop that does not turn for this long is replaced. Far above any pause of garbage collection or of a slow disk. */
  planeSilentMsMax: 15_000,
  feedBookmarkMs: 2_000,

  // Logs
  logEntryBytesMax: 16 * KIB,
  logEntriesPerFunctionMax: 2_000,
  logBytesPerSecondMax: 256 * KIB,

  usageReportMs: 10_000,
} as const;

function must(condition: boolean, law: string): void {
  if (!condition) throw new Error(`shared/limits.ts: ${law}`);
}

must(LIMITS.heartbeatMs * 3 <= LIMITS.memberDeadMs, 'three heartbeats fit before a member is taken for dead');
must(LIMITS.memberDeadMs <= LIMITS.leaseTtlMs, 'a dead holder is noticed no later than its leases expire');
must(LIMITS.assetBytesMax <= LIMITS.assetUploadBytesMax, 'the largest asset fits one upload');
must(LIMITS.cpuMsDefault <= LIMITS.timeoutMsDefault, 'CPU time cannot exceed wall time by default');
must(
  LIMITS.requestBodyBytesDefault <= LIMITS.requestBodyBytesMax,
  'default body bound is within the maximum',
);
must(LIMITS.subrequestsDefault <= LIMITS.subrequestsMax, 'default subrequests are within the maximum');
must(LIMITS.drainMsDefault <= LIMITS.drainMsMax, 'the default drain is within the maximum');
must(LIMITS.digestBodyBytesMax <= LIMITS.requestBodyBytesMax, 'digest bound is within the body bound');
must(LIMITS.queueTimeoutMsDefault <= LIMITS.queueTimeoutMsMax, 'default queue wait is within the maximum');
