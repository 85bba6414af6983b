/** Decides whether uploaded assets may become part of a version, and what its manifest is. Pure. */
import { assetPathProblem, encodeManifest } from '#shared/assets/manifest.ts';
import { readHeaderRules, readRedirects, type RuleProblem } from '#shared/assets/rule-files.ts';
import type { AssetsConfig, AssetsUpload, ServedAssets } from '#shared/contracts/assets.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { PlatformError, type ErrorCode } from '#shared/errors.ts';
import type { FieldProblem } from '#shared/field-problem.ts';
import { LIMITS } from '#shared/limits.ts';
import type { VersionAssets } from '../db/schema.ts';
import {
  NAVIGATION_FIRST,
  NAVIGATION_FIRST_SINCE,
  NAVIGATION_NO_EFFECT,
} from '#shared/compatibility/flags.ts';

const PROBLEMS_MAX = 100;

function refusal(code: ErrorCode, problems: readonly FieldProblem[]): PlatformError {
  const [first] = problems;
  return new PlatformError(code, `${problems.length} problems of assets`, {
    ...(first === undefined ? {} : { publicDetail: `${first.path}: ${first.message}` }),
    extensions: { problems: problems.slice(0, PROBLEMS_MAX) },
  });
}

export interface PlannedAssets {
  readonly manifest: Uint8Array<ArrayBuffer>;
  readonly files: number;
  readonly bytes: number;
}

function sizeProblems({ files }: AssetsUpload): readonly FieldProblem[] {
  if (files.length > LIMITS.assetsPerVersionMax)
    return [
      { path: 'assets', message: `${files.length} files, at most ${LIMITS.assetsPerVersionMax} are allowed` },
    ];
  const large = files.filter(({ bytes }) => bytes > LIMITS.assetBytesMax);
  if (large.length > 0)
    return large.map(({ path, bytes }) => ({
      path,
      message: `${bytes} bytes, at most ${LIMITS.assetBytesMax} are allowed`,
    }));
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  return total > LIMITS.assetsBytesMax
    ? [{ path: 'assets', message: `${total} bytes together, at most ${LIMITS.assetsBytesMax} are allowed` }]
    : [];
}

function pathProblems({ files }: AssetsUpload): readonly FieldProblem[] {
  const seen = new Set<string>();
  return files.flatMap(({ path }) => {
    const problem = assetPathProblem(path) ?? (seen.has(path) ? 'is listed twice' : undefined);
    seen.add(path);
    return problem === undefined ? [] : [{ path: JSON.stringify(path), message: problem }];
  });
}

function ruleProblems(name: string, problems: readonly RuleProblem[]): readonly FieldProblem[] {
  return problems
    .filter(({ overLimit }) => overLimit)
    .map(({ line, message }) => ({ path: `${name}:${line}`, message }));
}

/** @throws {PlatformError} `assets_too_large` or `config_invalid`, with every problem of the first kind that applies. */
export function planAssets(upload: AssetsUpload, config: AssetsConfig): PlannedAssets {
  for (const [name, text] of [
    ['_headers', upload.headers],
    ['_redirects', upload.redirects],
  ] as const)
    if (text !== undefined && Buffer.byteLength(text) > LIMITS.assetRuleFileBytesMax)
      throw refusal('assets_too_large', [
        { path: name, message: `at most ${LIMITS.assetRuleFileBytesMax} bytes` },
      ]);
  const sizes = sizeProblems(upload);
  if (sizes.length > 0) throw refusal('assets_too_large', sizes);
  const paths = pathProblems(upload);
  if (paths.length > 0) throw refusal('config_invalid', paths);
  const headers = readHeaderRules(upload.headers ?? '');
  const redirects = readRedirects(upload.redirects ?? '', { htmlHandling: config.htmlHandling !== 'none' });
  const rules = [
    ...ruleProblems('_headers', headers.problems),
    ...ruleProblems('_redirects', redirects.problems),
  ];
  if (rules.length > 0) throw refusal('assets_too_large', rules);
  const manifest = encodeManifest(upload.files, { headers: headers.rules, redirects: redirects.rules });
  if (manifest.byteLength > LIMITS.assetManifestBytesMax)
    throw refusal('assets_too_large', [
      { path: 'assets', message: `paths and rules exceed ${LIMITS.assetManifestBytesMax} bytes` },
    ]);
  return {
    manifest,
    files: upload.files.length,
    bytes: upload.files.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function navigationFirst(date: string, flags: readonly string[]): boolean {
  if (flags.includes(NAVIGATION_NO_EFFECT)) return false;
  return flags.includes(NAVIGATION_FIRST) || date >= NAVIGATION_FIRST_SINCE;
}

/** What gateways and nodes are told; undefined when the version has none. */
export function servedAssets(
  stored: VersionAssets | null,
  { assets, auth, compatibilityDate, compatibilityFlags }: FunctionConfig,
  hasCode: boolean,
): ServedAssets | undefined {
  if (stored === null || assets === undefined) return undefined;
  return {
    manifest: stored.manifest,
    manifestBytes: stored.manifestBytes,
    config: assets,
    anyone: assets.auth === 'public' || auth.mode === 'public',
    alone: !hasCode,
    navigationFirst: navigationFirst(compatibilityDate, compatibilityFlags),
  };
}
