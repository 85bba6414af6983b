/** What the CLI knows of a project after reading its configuration, whichever file it came from. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { FunctionName } from '#shared/ids.ts';

export const RULE_TYPES = ['CompiledWasm', 'Text', 'Data', 'Json'] as const;

/** Files that match are uploaded as modules of that type instead of being bundled. */
export interface ModuleRule {
  readonly type: (typeof RULE_TYPES)[number];
  readonly globs: readonly string[];
}

export interface Project {
  readonly name: FunctionName;
  /** Folder of the configuration file; `main` is relative to it. */
  readonly root: string;
  /** Absolute path of the entry file. */
  readonly main: string;
  readonly config: FunctionConfig;
  readonly rules: readonly ModuleRule[];
  readonly configPath: string;
  readonly warnings: readonly string[];
}
