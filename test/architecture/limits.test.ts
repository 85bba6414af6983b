/**
 * Goal: each bound that planes agree on is tried at the bound. Method: each names its test, whose file names the
 * bound; a bound without an entry does not compile, and a test that is gone or skipped fails here.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import { repositoryRoot } from '../support/paths.ts';

const CONTRACTS = 'shared/contracts/bounds.test.ts';
const UPLOADS = 'control/publish/bounds.test.ts';
const ASSETS = 'control/assets/plan.test.ts';
const INTAKE = 'shared/carry/intake.node.test.ts';
const SIGNATURES = 'shared/signatures/signatures.test.ts';
const FEED = 'control/feed/feed.test.ts';

/** File, and what the title of its test begins with. */
type AtBound = readonly [file: string, title: string];

const NUMBER: AtBound = [CONTRACTS, 'is bounded: ${group}.${name}'];
const DEFAULT: AtBound = [CONTRACTS, 'has its default where it is left out'];
const LIST: AtBound = [CONTRACTS, 'is bounded: ${name}'];
const PART: AtBound = [UPLOADS, 'is bounded: ${what}'];
const PATTERNS: AtBound = [CONTRACTS, 'is bounded: paths at which code answers'];
const RULES: AtBound = [ASSETS, 'have 2,000 redirects, 100 with a wildcard'];
const ASSET_SIZES: AtBound = [ASSETS, 'are files of at most 25 MiB, and so much together'];

const TESTS: Readonly<Record<keyof typeof LIMITS, AtBound>> = {
  bundleBytesMax: PART,
  modulesPerVersionMax: [UPLOADS, 'has a bounded number of modules'],
  moduleNameBytesMax: [CONTRACTS, 'the name of a module is bounded'],
  varsBytesMax: ['control/publish/publish.test.ts', 'limits are inclusive: variables'],
  layersPerFunctionMax: LIST,
  sourceMapBytesMax: PART,
  bindingsMax: LIST,
  rateLimitMax: [CONTRACTS, 'the calls that a rate-limit binding lets through'],
  authPathsMax: LIST,
  codePerAccountBytesDefault: ['control/db/blobs.test.ts', 'has a bound without a ceiling of its own'],
  assetsPerVersionMax: [ASSETS, 'are at most so many files'],
  assetBytesMax: ASSET_SIZES,
  assetsBytesMax: ASSET_SIZES,
  assetsPerAccountBytesDefault: [UPLOADS, 'are kept up to the quota'],
  assetPathBytesMax: [ASSETS, 'have paths that a URL can have'],
  assetManifestBytesMax: [ASSETS, 'have a manifest that is bounded'],
  assetRuleFileBytesMax: RULES,
  assetRuleLineBytesMax: RULES,
  assetHeaderRulesMax: RULES,
  assetHeadersMax: RULES,
  assetStaticRedirectsMax: RULES,
  assetDynamicRedirectsMax: RULES,
  assetPatternsMax: PATTERNS,
  assetPatternBytesMax: PATTERNS,
  assetsPerCheckMax: [CONTRACTS, 'one question about missing assets'],
  assetsPerUploadMax: [UPLOADS, 'come in uploads of a bounded number'],
  assetUploadBytesMax: PART,
  secretsPerAccountMax: ['control/api/secrets.test.ts', 'an account has room for a bounded number'],
  secretsPerFunctionMax: ['control/api/secret-scopes.test.ts', 'are bounded in number and size'],
  secretBytesMax: ['control/api/secret-scopes.test.ts', 'are bounded in number and size'],
  requestBodyBytesMax: NUMBER,
  requestBodyBytesDefault: DEFAULT,
  urlBytesMax: ['gateway/hygiene.node.test.ts', 'bounds the URL'],
  headerBytesMax: ['gateway/hygiene.node.test.ts', 'bounds the headers'],
  digestBodyBytesMax: ['gateway/auth/signed.test.ts', 'checks the body against its digest and bounds it'],
  bodyGraceMs: [INTAKE, 'gives a body up that does not come'],
  bodyBytesPerSecondMin: [INTAKE, 'lets a body go on that keeps to the least rate'],
  bodyInstanceGraceMs: [INTAKE, 'asks for a higher rate while an instance waits'],
  bodyInstanceBytesPerSecondMin: [INTAKE, 'bounds how slow a body may be while an instance waits'],
  clientStalledMsMax: ['shared/carry/silence.test.ts', 'gives a receiver up that takes nothing'],
  principalBytesMax: ['gateway/auth/auth.test.ts', 'has a name that no other caller has'],
  cpuMsDefault: DEFAULT,
  cpuMsMax: NUMBER,
  timeoutMsDefault: DEFAULT,
  timeoutMsMax: NUMBER,
  memoryMbDefault: DEFAULT,
  memoryMbMin: NUMBER,
  memoryMbMax: NUMBER,
  concurrencyDefault: DEFAULT,
  concurrencyMax: NUMBER,
  maxInstancesDefault: DEFAULT,
  maxInstancesMax: NUMBER,
  queueDepthDefault: DEFAULT,
  queueDepthMax: NUMBER,
  queueTimeoutMsDefault: DEFAULT,
  queueTimeoutMsMax: NUMBER,
  idleTimeoutMsDefault: DEFAULT,
  idleTimeoutMsMax: NUMBER,
  streamIdleMsDefault: DEFAULT,
  streamIdleMsMax: NUMBER,
  subrequestsDefault: DEFAULT,
  subrequestsMax: NUMBER,
  connectionsDefault: DEFAULT,
  connectionsMax: NUMBER,
  callDepthMax: ['nodes/attachments/services/services.test.ts', 'allows a chain of'],
  drainMsDefault: DEFAULT,
  drainMsMax: NUMBER,
  instanceAgeMsMin: NUMBER,
  instanceAgeMsMax: NUMBER,
  requestsPerInstanceMax: NUMBER,
  provisionedMax: [CONTRACTS, 'instances that an alias keeps ready are bounded'],
  startMsMax: ['scheduler/core/lifecycle.test.ts', 'a start without an answer is waited for'],
  hookTimeoutMsDefault: DEFAULT,
  hookTimeoutMsMax: NUMBER,
  signatureAgeMsMax: [SIGNATURES, 'bounds the life of a signature'],
  signatureSkewMs: [SIGNATURES, 'allows a little skew'],
  nonceBytesMax: [SIGNATURES, 'bounds the nonce'],
  leaseTtlMs: ['scheduler/core/lifecycle.test.ts', 'whose gateway is dead is stopped when the leases'],
  heartbeatMs: ['shared/leases/manager.test.ts', 'gives back leases that nobody used'],
  memberDeadMs: [FEED, 'a consumer that died stops counting after a while'],
  planeSilentMsMax: ['cli/up/liveness.test.ts', 'finds a silent process at its bound'],
  feedBookmarkMs: [FEED, 'a bookmark comes every period'],
  logEntryBytesMax: ['nodes/agent/logs.test.ts', 'one huge line is cut'],
  logEntriesPerFunctionMax: ['nodes/logs/logs.test.ts', 'a ring keeps the newest entries'],
  logBytesPerSecondMax: ['nodes/agent/logs.test.ts', 'a flood is bounded'],
  usageReportMs: ['shared/usage/reporter.test.ts', 'sends what was counted since the last report'],
};

const TITLE = /\btest(?:\.each\([^)]*\)|\.for\([^)]*\))?\(\s*(['"`])((?:\\.|(?!\1).)*)\1/g;
const SKIPPED = /\b(?:test|describe)\.(?:skip|todo|fails|only)\b/;

describe('each limit', () => {
  test('is in this table', ({ expect }) => {
    expect(Object.keys(TESTS)).toEqual(Object.keys(LIMITS));
  });

  for (const [limit, [file, title]] of Object.entries(TESTS))
    test(`has a test at its bound: ${limit}`, async ({ expect }) => {
      const source = await readFile(join(repositoryRoot, file), 'utf8');
      const titles = [...source.matchAll(TITLE)].map((match) => match[2] ?? '');
      expect(titles.filter((each) => each.startsWith(title))).toHaveLength(1);
      expect(source, `${file} does not name it`).toMatch(new RegExp(`\\b(?:LIMITS\\.)?${limit}\\b`));
      expect(source).not.toMatch(SKIPPED);
    });
});
