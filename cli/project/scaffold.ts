/** The files of a new project, as text. Pure but for reading the template's sources. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const TEMPLATES = ['hello', 'event', 'streaming'] as const;
type Template = (typeof TEMPLATES)[number];

/** Versions that the templates are checked with (scaffold.test.ts compares them with package.json). */
export const TYPES_VERSION = '5.20261117.1';
export const TYPESCRIPT_VERSION = '7.0.2';

/** What the templates are tested with. A fixed date: a newer one may change how the runtime behaves. */
export const COMPATIBILITY_DATE = '2026-11-01';

export interface ScaffoldOptions {
  readonly name: string;
  readonly template: Template;
  readonly format: 'isoplane' | 'wrangler';
  /** Where editors find the JSON schema of isoplane.jsonc: a path from the project, or an absolute one. */
  readonly schema?: string;
}

const VARS: Readonly<Record<Template, Readonly<Record<string, string>>>> = {
  hello: { GREETING: 'Hello' },
  event: {},
  streaming: {},
};

/** Path → content. */
export async function scaffold(options: ScaffoldOptions): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  if (options.format === 'wrangler') files.set('wrangler.toml', wranglerToml(options));
  else files.set('isoplane.jsonc', isoplaneJsonc(options));
  const folder = fileURLToPath(new URL(`../templates/${options.template}/src/`, import.meta.url));
  for (const file of (await readdir(folder)).sort())
    files.set(`src/${file}`, await readFile(join(folder, file), 'utf8'));
  files.set('tsconfig.json', json(TSCONFIG));
  files.set(
    'package.json',
    json({
      name: options.name,
      private: true,
      type: 'module',
      scripts: {
        deploy: 'isoplane deploy',
        dev: 'isoplane dev',
        types: 'isoplane types',
        check: 'isoplane types && tsc -p .',
      },
      devDependencies: {
        '@cloudflare/workers-types': TYPES_VERSION,
        typescript: TYPESCRIPT_VERSION,
      },
    }),
  );
  files.set('.gitignore', 'node_modules/\n.isoplane/\n.dev.vars*\n.env*\n');
  return files;
}

const TSCONFIG = {
  compilerOptions: {
    target: 'ES2023',
    lib: ['ES2023'],
    types: ['@cloudflare/workers-types'],
    module: 'ESNext',
    moduleResolution: 'Bundler',
    strict: true,
    noUncheckedIndexedAccess: true,
    allowImportingTsExtensions: true,
    isolatedModules: true,
    skipLibCheck: true,
    noEmit: true,
  },
  // The file that `isoplane types` writes lies beside `src`.
  include: ['src', 'isoplane-env.d.ts'],
};

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

function isoplaneJsonc({ name, template, schema }: ScaffoldOptions): string {
  const vars = Object.entries(VARS[template]).map(
    ([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`,
  );
  return [
    '{',
    ...(schema === undefined ? [] : [`  "$schema": ${JSON.stringify(schema)},`]),
    `  "name": ${JSON.stringify(name)},`,
    '  "main": "src/index.ts",',
    ...(template === 'event' ? ['  "style": "event",'] : []),
    '  // The behaviour of the runtime at this date is kept for ever.',
    `  "compatibilityDate": ${JSON.stringify(COMPATIBILITY_DATE)},`,
    ...(vars.length === 0 ? [] : [`  "vars": { ${vars.join(', ')} },`]),
    '  // Who may call it: "signed" (the default), "jwt" or "public".',
    '  "auth": { "mode": "signed" },',
    '}',
    '',
  ].join('\n');
}

function wranglerToml({ name, template }: ScaffoldOptions): string {
  const vars = Object.entries(VARS[template]).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  return [
    `name = ${JSON.stringify(name)}`,
    'main = "src/index.ts"',
    `compatibility_date = ${JSON.stringify(COMPATIBILITY_DATE)}`,
    ...(vars.length === 0 ? [] : ['', '[vars]', ...vars]),
    '',
  ].join('\n');
}
