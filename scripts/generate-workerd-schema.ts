/**
 * Regenerates nodes/workerd/generated/ from the schema of the pinned workerd package.
 *
 * Needs Debian's `capnproto` (the schema parser). capnp-es' compiler needs the compiler API of
 * TypeScript 5, which the repository's TypeScript no longer has, so both are installed aside.
 * Run it after an update of workerd: `node scripts/generate-workerd-schema.ts`.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(root, 'node_modules/capnp-es/package.json'), 'utf8')) as {
  version: string;
};
const folder = mkdtempSync(join(tmpdir(), 'workerd-schema-'));
try {
  const schema = readFileSync(join(root, 'node_modules/workerd/workerd.capnp'), 'utf8')
    // Annotations for C++ only, and a shorthand that released parsers do not know yet.
    .replaceAll(/^(?:using Cxx|\$Cxx\.).*$/gm, '')
    .replace('ServiceDesignator = "internet"', 'ServiceDesignator = (name = "internet")');
  writeFileSync(join(folder, 'workerd.capnp'), schema);
  writeFileSync(join(folder, 'package.json'), '{}');
  const run = (file: string, ...args: string[]): void =>
    void execFileSync(file, args, { cwd: folder, stdio: 'inherit' });
  run('npm', 'install', '--no-audit', '--no-fund', `capnp-es@${version}`, 'typescript@5.9.3');
  run('npx', 'capnp-es', 'workerd.capnp', '-ojs,dts:.');
  for (const file of ['workerd.js', 'workerd.d.ts'])
    cpSync(join(folder, file), join(root, 'nodes/workerd/generated', file));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
