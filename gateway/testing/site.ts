/** A function with static assets, as a gateway hears of it, and the blobs that control has of it. */
import { createHash } from 'node:crypto';
import { encodeManifest } from '#shared/assets/manifest.ts';
import { readHeaderRules, readRedirects } from '#shared/assets/rule-files.ts';
import { assetsConfigSchema, type AssetFile } from '#shared/contracts/assets.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import type { z } from 'zod';
import { functionItems, type FunctionParts } from './items.ts';

export interface SiteParts extends Omit<FunctionParts, 'assets'> {
  /** By path; `_headers` and `_redirects` are read, not served. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
  readonly config?: z.input<typeof assetsConfigSchema>;
  /** No code. */
  readonly alone?: boolean;
  readonly navigationFirst?: boolean;
}

export interface MadeSite {
  readonly items: FeedItem[];
  readonly blobs: Map<string, Uint8Array>;
  readonly digestOf: (path: string) => Digest;
}

const sha256 = (bytes: Uint8Array): Digest =>
  digestSchema.parse(createHash('sha256').update(bytes).digest('hex'));

export function siteItems(name: string, parts: SiteParts): MadeSite {
  const { files, alone = false, navigationFirst = true, account = 'default' } = parts;
  const config = assetsConfigSchema.parse(parts.config ?? {});
  const blobs = new Map<string, Uint8Array>();
  const listed: AssetFile[] = [];
  const rules: Record<string, string> = {};
  for (const [path, content] of Object.entries(files)) {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    if (path === '/_headers' || path === '/_redirects') {
      rules[path] = Buffer.from(bytes).toString();
      continue;
    }
    const digest = sha256(bytes);
    blobs.set(`${account}/${digest}`, bytes);
    listed.push({ path, digest, bytes: bytes.byteLength });
  }
  const manifest = encodeManifest(listed, {
    headers: readHeaderRules(rules['/_headers'] ?? '').rules,
    redirects: readRedirects(rules['/_redirects'] ?? '', { htmlHandling: config.htmlHandling !== 'none' })
      .rules,
  });
  blobs.set(`${account}/${sha256(manifest)}`, manifest);
  const anyone = config.auth === 'public' || (parts.auth ?? { mode: 'public' }).mode === 'public';
  const assets = {
    manifest: sha256(manifest),
    manifestBytes: manifest.byteLength,
    config,
    anyone,
    alone,
    navigationFirst,
  };
  return {
    items: functionItems(name, { ...parts, assets }),
    blobs,
    digestOf: (path) => {
      const found = listed.find((file) => file.path === path);
      if (found === undefined) throw new Error(`no file ${path}`);
      return found.digest;
    },
  };
}
