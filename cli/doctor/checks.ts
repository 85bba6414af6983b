/** What `isoplane doctor` looks at. Each check says what it found, what a lack means and what to do. */
import { execFile } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { readFile, stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { diagnoseSandbox } from '#nodes/doctor.ts';
import { findDataDir, runningPlatform } from '../client/connection.ts';
import { bytesText } from '../output.ts';
import { DEFAULTS } from '../up/options.ts';
import { workerdBinary, workerdDate } from '../workerd-binary.ts';

export interface Check {
  readonly name: string;
  /** `fail`: the platform cannot run (well) without it. `warn`: it runs, and `means` says with what loss. */
  readonly status: 'ok' | 'warn' | 'fail';
  readonly found: string;
  readonly means?: string;
  readonly fix?: string;
}

const run = promisify(execFile);
const PROGRAM_TIMEOUT_MS = 10_000;
const DISK_BYTES_FAIL = 200 * 1024 * 1024;
const DISK_BYTES_WARN = 1024 * 1024 * 1024;

export async function allChecks(named: string | undefined): Promise<Check[]> {
  const dataDir = (await findDataDir(named, process.cwd())) ?? join(process.cwd(), '.isoplane');
  const running = await runningPlatform(dataDir);
  const containment = checkContainment();
  const checks = await Promise.all([
    checkNode(),
    checkWorkerd(),
    checkUserNamespaces(),
    checkSeccomp(),
    checkDisk(dataDir),
    checkDataFolder(dataDir),
    checkPort('gateway port', placeOf('GATEWAY', running?.gatewayUrl), running !== undefined),
    checkPort('control port', placeOf('CONTROL', running?.controlUrl), running !== undefined),
    checkClock(),
    checkNames(),
  ]);
  return [...checks.slice(0, 2), ...(await containment), ...checks.slice(2)];
}

async function checkNode(): Promise<Check> {
  // The launcher refuses anything older, so reaching this line is the proof.
  return { name: 'node', status: 'ok', found: process.version };
}

async function checkWorkerd(): Promise<Check> {
  try {
    const { stdout } = await run(workerdBinary(), ['--version'], { timeout: PROGRAM_TIMEOUT_MS });
    return { name: 'workerd', status: 'ok', found: stdout.trim() };
  } catch (thrown) {
    return {
      name: 'workerd',
      status: 'fail',
      found: `does not run: ${thrown instanceof Error ? (thrown.message.split('\n')[0] ?? '') : String(thrown)}`,
      means: 'No function can run.',
      fix: 'Linux x64 or arm64 with glibc 2.35 or newer (Debian 12, Ubuntu 22.04) is needed; then npm ci again.',
    };
  }
}

/** The node's own detection: it really starts workerd in a sandbox, and says what bounds memory. */
async function checkContainment(): Promise<Check[]> {
  const required = process.env['ISOPLANE_SANDBOX'] === 'required';
  try {
    const found = await diagnoseSandbox();
    const sandbox: Check =
      found.level === 'full'
        ? { name: 'sandbox', status: 'ok', found: 'full' }
        : {
            name: 'sandbox',
            status: required ? 'fail' : 'warn',
            found: `${found.level}: ${found.missing.join('; ')}`,
            means: 'Functions are not contained by the operating system: run only code that you trust.',
            fix: 'apt-get install bubblewrap util-linux; and allow unprivileged user namespaces.',
          };
    const memory: Check = found.memory.startsWith('cgroup')
      ? { name: 'memory limit', status: 'ok', found: found.memory }
      : {
          name: 'memory limit',
          status: 'warn',
          found: found.memory,
          means: 'Memory is bounded more coarsely than by a control group.',
          fix: 'run the platform where it may make cgroups: as root, or as a systemd service with Delegate=yes',
        };
    return [sandbox, memory];
  } catch (thrown) {
    return [
      {
        name: 'sandbox',
        status: 'fail',
        found: thrown instanceof Error ? thrown.message : String(thrown),
        means: 'No function can run, with or without a sandbox.',
        fix: 'See what workerd above says; then npm ci again.',
      },
    ];
  }
}

async function setting(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}

async function checkUserNamespaces(): Promise<Check> {
  const name = 'user namespaces';
  if (process.platform !== 'linux') return notLinux(name);
  const [max, clone, apparmor] = await Promise.all([
    setting('/proc/sys/user/max_user_namespaces'),
    setting('/proc/sys/kernel/unprivileged_userns_clone'),
    setting('/proc/sys/kernel/apparmor_restrict_unprivileged_userns'),
  ]);
  const means = 'bwrap cannot make a sandbox, unless the platform runs as root.';
  if (max === '0')
    return {
      name,
      status: 'warn',
      found: 'none allowed',
      means,
      fix: 'sysctl -w user.max_user_namespaces=10000',
    };
  if (clone === '0')
    return {
      name,
      status: 'warn',
      found: 'off for users',
      means,
      fix: 'sysctl -w kernel.unprivileged_userns_clone=1',
    };
  if (apparmor === '1')
    return {
      name,
      status: 'warn',
      found: 'restricted by AppArmor',
      means,
      fix: 'install the AppArmor profile of bwrap, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0',
    };
  return { name, status: 'ok', found: 'allowed' };
}

async function checkSeccomp(): Promise<Check> {
  if (process.platform !== 'linux') return notLinux('seccomp');
  const actions = await setting('/proc/sys/kernel/seccomp/actions_avail');
  if (actions?.includes('errno') === true)
    return { name: 'seccomp', status: 'ok', found: 'filters available' };
  return {
    name: 'seccomp',
    status: 'warn',
    found: 'not available',
    means: 'A function could use any system call that its user may.',
    fix: 'use a kernel with CONFIG_SECCOMP_FILTER',
  };
}

function notLinux(name: string): Check {
  return {
    name,
    status: 'warn',
    found: `not on ${process.platform}`,
    means: 'It exists on Linux only.',
    fix: 'run the platform on Linux',
  };
}

async function checkDisk(dataDir: string): Promise<Check> {
  const info = await statfs(await existingParent(dataDir));
  const free = info.bavail * info.bsize;
  const found = `${bytesText(free)} free for ${dataDir}`;
  if (free >= DISK_BYTES_WARN) return { name: 'disk', status: 'ok', found };
  return {
    name: 'disk',
    status: free < DISK_BYTES_FAIL ? 'fail' : 'warn',
    found,
    means: 'Publishing is refused with storage_full when nothing is left; what is published keeps serving.',
    fix: 'free space, or put the data folder elsewhere with --data',
  };
}

async function existingParent(path: string): Promise<string> {
  let folder = path;
  while (folder !== dirname(folder)) {
    const exists = await stat(folder).then(
      () => true,
      () => false,
    );
    if (exists) return folder;
    folder = dirname(folder);
  }
  return folder;
}

async function checkDataFolder(dataDir: string): Promise<Check> {
  const name = 'data folder';
  const info = await stat(dataDir).catch(() => undefined);
  if (info === undefined) return { name, status: 'ok', found: `${dataDir} (made at the first start)` };
  const mode = (info.mode & 0o777).toString(8);
  const uid = process.getuid?.();
  if (info.isDirectory() && (info.mode & 0o077) === 0 && (uid === undefined || info.uid === uid))
    return { name, status: 'ok', found: `${dataDir} (mode ${mode})` };
  return {
    name,
    status: 'fail',
    found: `${dataDir} has mode ${mode}, owner ${info.uid}`,
    means: 'It holds keys; the platform refuses a folder that others may enter.',
    fix: `chmod 700 ${dataDir}, as the user who runs the platform`,
  };
}

interface Place {
  readonly host: string;
  readonly port: number;
  /** Of `isoplane up`, for another port. */
  readonly option: string;
}

/** Where the platform of the data folder listens; when none runs, where one would. */
function placeOf(plane: 'GATEWAY' | 'CONTROL', url: string | undefined): Place {
  const option = plane === 'GATEWAY' ? '--port' : '--control-port';
  if (url !== undefined) {
    const { hostname, port, protocol } = new URL(url);
    return {
      host: hostname.replaceAll(/[[\]]/g, ''),
      port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
      option,
    };
  }
  const usual = plane === 'GATEWAY' ? DEFAULTS.gatewayPort : DEFAULTS.controlPort;
  return {
    host: process.env[`ISOPLANE_${plane}_HOST`] ?? DEFAULTS.host,
    port: Number(process.env[`ISOPLANE_${plane}_PORT`] ?? usual),
    option,
  };
}

async function checkPort(name: string, { host, port, option }: Place, running: boolean): Promise<Check> {
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    return {
      name,
      status: 'fail',
      found: `${port} is no port`,
      means: 'The platform does not start.',
      fix: `set it to a number from 0 to 65535, or start with ${option} PORT`,
    };
  const free = await new Promise<boolean>((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
  if (running)
    return free
      ? {
          name,
          status: 'warn',
          found: `${port} is free, though the platform of this data folder listens there`,
          means: 'The plane is being started again, or is gone.',
          fix: 'see `isoplane status`, and the logs in the data folder',
        }
      : { name, status: 'ok', found: `${port} is in use by the platform of this data folder` };
  if (free) return { name, status: 'ok', found: port === 0 ? 'chosen by the system' : `${port} is free` };
  return {
    name,
    status: 'fail',
    found: `${port} is in use`,
    means: 'The platform cannot listen there.',
    fix: `stop what uses it, or start with ${option} PORT`,
  };
}

async function checkClock(): Promise<Check> {
  const now = new Date();
  // The package was made no earlier than the day its workerd names.
  const built = workerdDate();
  const today = now.toISOString().slice(0, 10);
  if (today >= built) return { name: 'clock', status: 'ok', found: now.toISOString() };
  return {
    name: 'clock',
    status: 'fail',
    found: `${now.toISOString()}, which is before ${built}`,
    means: 'Signatures and tokens are dated: callers with a right clock are refused.',
    fix: 'set the clock (timedatectl set-ntp true)',
  };
}

async function checkNames(): Promise<Check> {
  const name = 'names';
  try {
    const { address } = await lookup('isoplane-doctor.localhost');
    return { name, status: 'ok', found: `*.localhost is ${address}` };
  } catch {
    return {
      name,
      status: 'warn',
      found: '*.localhost does not resolve',
      means:
        'curl and browsers resolve it by themselves, `isoplane invoke` does not need it; other programs may.',
      fix: 'send the Host header to 127.0.0.1, or install libnss-myhostname',
    };
  }
}
