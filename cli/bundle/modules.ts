/** Which imported files become modules of their own, and under which name. */
import { createHash } from 'node:crypto';
import { basename, matchesGlob } from 'node:path';
import type { ModuleType } from '#shared/contracts/modules.ts';
import type { ModuleRule } from '../project/project.ts';

export interface BundledModule {
  readonly name: string;
  readonly type: ModuleType;
  readonly content: Uint8Array<ArrayBuffer>;
}

/** As wrangler's defaults, so that a project moves over unchanged. */
const DEFAULT_RULES: readonly ModuleRule[] = [
  { type: 'CompiledWasm', globs: ['**/*.wasm', '**/*.wasm?module'] },
  { type: 'Text', globs: ['**/*.txt', '**/*.html', '**/*.sql'] },
  { type: 'Data', globs: ['**/*.bin'] },
];

const TYPE_OF_RULE: Record<ModuleRule['type'], ModuleType> = {
  CompiledWasm: 'wasm',
  Text: 'text',
  Data: 'data',
  Json: 'json',
  ESModule: 'esm',
  CommonJS: 'commonjs',
};

/** As wrangler reads a glob, against the specifier as it is written: `*` stands for anything, also for `../`. */
function wranglersPattern(glob: string): RegExp {
  const literal = glob.split(/\*+/).map((part) => part.replaceAll(/[\\^$.|?+()[\]{}]/g, String.raw`\$&`));
  return new RegExp(`^${literal.join('.*')}$`);
}

/** The project's rules first: the first match decides. */
export function moduleTypeOf(importPath: string, rules: readonly ModuleRule[]): ModuleType | undefined {
  // A glob's `?` stands for one character, which is just what `.wasm?module` needs; the query is no part of the file.
  const path = importPath.replace(/^(\.\.?\/)+/, '').split('?', 1)[0] ?? '';
  const rule = [...rules, ...DEFAULT_RULES].find(({ globs }) =>
    globs.some(
      (glob) =>
        matchesGlob(path, glob) ||
        matchesGlob(basename(path), glob) ||
        wranglersPattern(glob).test(importPath),
    ),
  );
  return rule === undefined ? undefined : TYPE_OF_RULE[rule.type];
}

/** Content hash and base name: unique, readable, and the same for the same file wherever it lies. */
export function moduleNameFor(path: string, content: Uint8Array): string {
  const digest = createHash('sha256').update(content).digest('hex').slice(0, 16);
  const base = basename(path)
    .replaceAll(/[^A-Za-z0-9_.-]/g, '_')
    .slice(-100);
  return `${digest}-${base}`;
}
