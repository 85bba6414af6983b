/** What the CLI knows of a project after reading its configuration, whichever file it came from. */
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { Problem } from '../failure.ts';
import type { FunctionName } from '#shared/ids.ts';

export const RULE_TYPES = ['CompiledWasm', 'Text', 'Data', 'Json', 'ESModule', 'CommonJS'] as const;

/**
 * Files that match are uploaded as modules of that type instead of being bundled. JavaScript is always bundled,
 * so `ESModule` and `CommonJS` mean something with `noBundle` and `findAdditionalModules` only.
 */
export interface ModuleRule {
  readonly type: (typeof RULE_TYPES)[number];
  readonly globs: readonly string[];
}

/** A command of the project's own that makes what is deployed, from what a person wrote. */
export interface BuildStep {
  readonly command: string;
  /** Absolute path of the folder that it runs in. */
  readonly cwd: string;
  /** Absolute paths; a change of what they hold runs it again while somebody works. */
  readonly watch: readonly string[];
}

export interface Project {
  readonly name: FunctionName;
  /** Folder of the configuration file that a person wrote. */
  readonly root: string;
  /** Absolute path of the entry file. Undefined: static assets alone. */
  readonly main: string | undefined;
  /** Absolute path of the folder with static assets, when there are any. */
  readonly assetsFolder: string | undefined;
  readonly config: FunctionConfig;
  /** Names of the limits that the configuration sets; the others have their defaults, which the platform may lower. */
  readonly limitsGiven: readonly string[];
  readonly rules: readonly ModuleRule[];
  /** Import specifier → another one, or an absolute path. */
  readonly alias: Readonly<Record<string, string>>;
  /** Expression → JavaScript text that takes its place. */
  readonly define: Readonly<Record<string, string>>;
  /** The files are uploaded as they are. */
  readonly noBundle: boolean;
  /** Files that a rule names are uploaded although nothing imports them by a plain name. */
  readonly findAdditionalModules: boolean;
  /** Absolute path of the folder that names of such modules are relative to. Default: the entry file's. */
  readonly baseDir: string | undefined;
  /** Always, as with --minify. */
  readonly minify: boolean;
  readonly tsconfig: string | undefined;
  readonly jsxFactory: string | undefined;
  readonly jsxFragment: string | undefined;
  /** What the configuration asks for and the platform does not have; a deploy refuses it unless told to go on. */
  readonly unsupported: readonly Problem[];
  readonly configPath: string;
  /** A framework's build left the configuration, and with it code and files. */
  readonly isGenerated: boolean;
  /** What a person should know, each said once. */
  readonly warnings: readonly string[];
}

/** One that has code. */
export type CodeProject = Project & { readonly main: string };
