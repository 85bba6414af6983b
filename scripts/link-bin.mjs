// Makes `npx isoplane` work inside the repository and in folders below it: npm links the commands of
// dependencies, never the package's own. Runs as the `postprepare` script, that is after `npm ci` here, not where
// the package is installed from a registry or a tarball (`prepare` would run as seldom, but npm warns of it
// whoever installs a tarball). A failure must never fail an installation.
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
try {
  if (existsSync(join(root, 'node_modules')) && process.platform !== 'win32') {
    const folder = join(root, 'node_modules', '.bin');
    mkdirSync(folder, { recursive: true });
    rmSync(join(folder, 'isoplane'), { force: true });
    symlinkSync('../../cli/bin.js', join(folder, 'isoplane'));
    chmodSync(join(root, 'cli', 'bin.js'), 0o755);
  }
} catch (error) {
  process.stderr.write(`isoplane: the command was not linked: ${String(error)}\n`);
}
