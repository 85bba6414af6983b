/**
 * The filter says what it should (decoded and run by a small interpreter), and the kernel obeys it (a
 * program inside the profile tries what is forbidden).
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { access, chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import process from 'node:process';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { detectSandbox, type Sandbox } from './detect.ts';
import { WAITING_DATA_LIMIT } from './process-runner.ts';
import { INFO_FD, SECCOMP_FD, slotCommand } from './profile.ts';
import { buildRootfs } from './rootfs.ts';
import { decodeBpf, encodeBpf, seccompProgram, type BpfInstruction } from './seccomp.ts';
import { TIER_LIMITS } from './tiers.ts';
import { ALLOWED_SYSCALLS, FILTERED_SYSCALLS } from './syscalls.ts';

const X64 = 0xc000_003e;
const ALLOW = 'allow';

/** What the kernel would do with a call; arguments are 64-bit values. */
function judge(
  program: readonly BpfInstruction[],
  call: { number: number; architecture?: number; args?: readonly bigint[] },
): string {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.number, true);
  data.setUint32(4, call.architecture ?? X64, true);
  for (const [index, value] of (call.args ?? []).entries()) data.setBigUint64(16 + 8 * index, value, true);
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 1) {
    const { code, jumpTrue, jumpFalse, constant } = program[at]!;
    if (code === 0x20) accumulator = data.getUint32(constant, true);
    else if (code === 0x15) at += accumulator === constant ? jumpTrue : jumpFalse;
    else if (code === 0x35) at += accumulator >= constant ? jumpTrue : jumpFalse;
    else if (code === 0x45) at += (accumulator & constant) !== 0 ? jumpTrue : jumpFalse;
    else if (code === 0x06) {
      if (constant === 0x7fff_0000) return ALLOW;
      return constant === 0x8000_0000 ? 'kill' : `errno ${constant & 0xffff}`;
    } else throw new Error(`unknown instruction ${code}`);
  }
  throw new Error('the program ends without an answer');
}

describe('the filter, decoded', () => {
  const program = decodeBpf(encodeBpf(seccompProgram('x64')));

  test('fits the kernel and round-trips', ({ expect }) => {
    expect(program).toEqual(seccompProgram('x64'));
    expect(program.length).toBeLessThan(4_096);
    expect(Object.keys(ALLOWED_SYSCALLS).length).toBeLessThanOrEqual(120);
  });

  test('answers every number of both architectures, and allows exactly the list', ({ expect }) => {
    const unconditional = new Set<number>(Object.values(ALLOWED_SYSCALLS).map(([x64]) => x64));
    const conditional = new Set<number>(Object.values(FILTERED_SYSCALLS).map(([x64]) => x64));
    for (let number = 0; number < 600; number += 1) {
      const verdict = judge(program, { number });
      if (unconditional.has(number)) expect(verdict, `call ${number}`).toBe(ALLOW);
      else if (!conditional.has(number)) expect(verdict, `call ${number}`).toBe('errno 1');
    }
    const arm = seccompProgram('arm64');
    for (let number = 0; number < 600; number += 1) judge(arm, { number, architecture: 0xc000_00b7 });
  });

  test('kills foreign architectures and the x32 numbers', ({ expect }) => {
    expect(judge(program, { number: 0, architecture: 0x4000_0003 })).toBe('kill');
    expect(judge(program, { number: 0x4000_0000 })).toBe('kill');
  });

  test('socket() is for AF_UNIX, clone() without namespaces, limits are for reading', ({ expect }) => {
    const [socket, clone, prlimit, ioctl, prctl] = [41, 56, 302, 16, 157];
    expect(judge(program, { number: socket, args: [1n] })).toBe(ALLOW);
    for (const family of [2n, 10n, 16n, 17n, 40n])
      expect(judge(program, { number: socket, args: [family] })).toBe('errno 97');
    expect(judge(program, { number: clone, args: [0x3d_0f00n] })).toBe(ALLOW);
    for (const flag of [0x1000_0000n, 0x2_0000n, 0x4000_0000n, 0x200_0000n])
      expect(judge(program, { number: clone, args: [flag] })).toBe('errno 1');
    expect(judge(program, { number: prlimit, args: [0n, 2n, 0n] })).toBe(ALLOW);
    expect(judge(program, { number: prlimit, args: [0n, 2n, 4096n] })).toBe('errno 1');
    expect(judge(program, { number: prlimit, args: [0n, 2n, 0x1_0000_0000n] })).toBe('errno 1');
    expect(judge(program, { number: ioctl, args: [0n, 0x5421n] })).toBe(ALLOW);
    expect(judge(program, { number: ioctl, args: [0n, 0x5412n] })).toBe('errno 1');
    expect(judge(program, { number: prctl, args: [15n] })).toBe(ALLOW);
    // PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_PTRACER
    for (const option of [4n, 22n, 0x5961_6d61n])
      expect(judge(program, { number: prctl, args: [option] })).toBe('errno 1');
    expect(judge(program, { number: 435 })).toBe('errno 38');
  });
});

describe('the sandbox, from inside', () => {
  let folder: TempFolder;
  let sandbox: Sandbox;
  beforeAll(async () => {
    folder = await tempFolder();
    await chmod(folder.path, 0o711);
    sandbox = await detectSandbox({ folder: `${folder.path}/box`, mode: 'auto' });
  });
  afterAll(() => folder[Symbol.asyncDispose]());

  /** Runs a Perl program in the place of workerd: the same root, the same command line up to the program. */
  async function inside(script: string): Promise<string> {
    const slotDir = `${folder.path}/box/s/p`;
    await mkdir(slotDir, { recursive: true });
    if (sandbox.profile.dropTo !== undefined)
      await chown(slotDir, sandbox.profile.dropTo.uid, sandbox.profile.dropTo.gid);
    await writeFile(`${slotDir}/try.pl`, script, { mode: 0o644 });
    const perl = `${folder.path}/perl`;
    await mkdir(perl, { recursive: true, mode: 0o755 });
    const rootfs = await buildRootfs(perl, '/usr/bin/perl');
    const tier = TIER_LIMITS.standard;
    const { file, args } = slotCommand(
      sandbox.profile,
      { rootfs, slotDir, workerd: '' },
      { identity: sandbox.profile.dropTo, tier, data: WAITING_DATA_LIMIT },
    );
    const own = args.slice(0, args.indexOf('/bin/workerd') + 1);
    const filter = openSync(sandbox.seccompFile, 'r');
    const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'pipe', 'pipe', 'ignore', 'ignore', 'ignore'];
    stdio[SECCOMP_FD] = filter;
    stdio[INFO_FD] = 'pipe';
    const child = spawn(file, [...own, '/run/in/try.pl'], { stdio, env: {} });
    closeSync(filter);
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    await new Promise((resolve) => child.once('close', resolve));
    return text;
  }

  test('calls outside the list fail', async ({ expect, skip }) => {
    if (sandbox.status.level !== 'full')
      skip(
        `SKIPPED, not proved here: the sandbox is ${sandbox.status.level}: ${sandbox.status.missing.join('; ')}`,
      );
    if (process.arch !== 'x64') skip('SKIPPED: the numbers in this test are those of x86-64');
    if (
      !(await access('/usr/bin/perl').then(
        () => true,
        () => false,
      ))
    )
      skip('SKIPPED: there is no perl to try calls with');
    const calls = {
      unix_socket: 'syscall(41, 1, 1, 0)',
      inet_socket: 'syscall(41, 2, 1, 0)',
      inet6_socket: 'syscall(41, 10, 1, 0)',
      netlink_socket: 'syscall(41, 16, 3, 0)',
      ptrace: 'syscall(101, 0, 0, 0, 0)',
      mount: 'syscall(165, 0, 0, 0, 0, 0)',
      unshare: 'syscall(272, 0x10000000)',
      setns: 'syscall(308, 0, 0)',
      bpf: 'syscall(321, 0, 0, 0)',
      keyctl: 'syscall(250, 0, 0, 0, 0, 0)',
      process_vm_readv: 'syscall(310, 1, 0, 0, 0, 0, 0)',
      perf_event_open: 'syscall(298, 0, 0, 0, 0, 0)',
      userfaultfd: 'syscall(323, 0)',
      io_uring_setup: 'syscall(425, 1, 0)',
      setuid: 'syscall(105, 0)',
      chroot: 'syscall(161, my $path = "/")',
      clone_newuser: 'syscall(56, 0x10000011, 0, 0, 0, 0)',
      setrlimit: 'syscall(160, 2, 0)',
      kill: 'syscall(62, 1, 9)',
      tkill: 'syscall(200, 1, 9)',
      rt_sigqueueinfo: 'syscall(129, 1, 9, 0)',
      pidfd_open: 'syscall(434, 1, 0)',
      pidfd_getfd: 'syscall(438, 3, 0, 0)',
      process_vm_writev: 'syscall(311, 1, 0, 0, 0, 0, 0)',
      process_madvise: 'syscall(440, 3, 0, 0, 0, 0)',
      kcmp: 'syscall(312, 1, 1, 0, 0, 0)',
      personality: 'syscall(135, 0x0040000)',
      memfd_create: 'syscall(319, my $name = "x", 0)',
      execveat: 'syscall(322, 0, my $empty = "", 0, 0, 0x1000)',
      umount2: 'syscall(166, my $root = "/", 0)',
      pivot_root: 'syscall(155, 0, 0)',
      fsopen: 'syscall(430, my $type = "tmpfs", 0)',
      move_mount: 'syscall(429, 0, 0, 0, 0, 0)',
      open_tree: 'syscall(428, 0, 0, 0)',
      open_by_handle_at: 'syscall(304, 0, 0, 0)',
      name_to_handle_at: 'syscall(303, 0, 0, 0, 0, 0)',
      add_key: 'syscall(248, 0, 0, 0, 0, 0)',
      request_key: 'syscall(249, 0, 0, 0, 0)',
      io_uring_enter: 'syscall(426, 3, 0, 0, 0, 0, 0)',
      io_setup: 'syscall(206, 1, 0)',
      init_module: 'syscall(175, 0, 0, 0)',
      finit_module: 'syscall(313, 0, 0, 0)',
      kexec_load: 'syscall(246, 0, 0, 0, 0)',
      reboot: 'syscall(169, 0, 0, 0, 0)',
      swapon: 'syscall(167, 0, 0)',
      sethostname: 'syscall(170, my $host = "x", 1)',
      settimeofday: 'syscall(164, 0, 0)',
      clock_settime: 'syscall(227, 0, 0)',
      syslog: 'syscall(103, 3, 0, 0)',
      quotactl: 'syscall(179, 0, 0, 0, 0)',
      acct: 'syscall(163, 0)',
      iopl: 'syscall(172, 3)',
      ioperm: 'syscall(173, 0, 1, 1)',
      modify_ldt: 'syscall(154, 0, 0, 0)',
      seccomp: 'syscall(317, 0, 0, 0)',
      landlock_create_ruleset: 'syscall(444, 0, 0, 0)',
      mknod: 'syscall(133, my $node = "/run/in/n", 0020666, 0)',
      mkdir: 'syscall(83, my $folder = "/run/in/d", 0777)',
      symlink: 'syscall(88, my $to = "/", my $from = "/run/in/l")',
      link: 'syscall(86, my $old = "/bin/workerd", my $new = "/run/in/w")',
      rename: 'syscall(82, my $was = "/run/in/a", my $is = "/run/in/b")',
      chmod: 'syscall(90, my $file = "/run/in", 0777)',
      chown: 'syscall(92, my $own = "/run/in", 0, 0)',
      setgroups: 'syscall(116, 0, 0)',
      capset: 'syscall(126, 0, 0)',
      prctl_dumpable: 'syscall(157, 4, 1, 0, 0, 0)',
      mincore: 'syscall(27, 0, 4096, 0)',
      sched_setscheduler: 'syscall(144, 0, 1, 0)',
      setpriority: 'syscall(141, 0, 0, -20)',
      fanotify_init: 'syscall(300, 0, 0)',
      inotify_init: 'syscall(253)',
      vmsplice: 'syscall(278, 0, 0, 0, 0)',
      splice: 'syscall(275, 0, 0, 0, 0, 0, 0)',
      shmget: 'syscall(29, 0, 4096, 0)',
      msgget: 'syscall(68, 0, 0)',
      semget: 'syscall(64, 0, 1, 0)',
      mq_open: 'syscall(240, my $queue = "q", 0)',
      mlockall: 'syscall(151, 1)',
      move_pages: 'syscall(279, 1, 0, 0, 0, 0, 0)',
      mbind: 'syscall(237, 0, 0, 0, 0, 0, 0)',
      vsock_socket: 'syscall(41, 40, 1, 0)',
      packet_socket: 'syscall(41, 17, 3, 0)',
      alg_socket: 'syscall(41, 38, 5, 0)',
    };
    const script = Object.entries(calls)
      .map(
        ([name, call]) =>
          `$! = 0; my $r_${name} = ${call}; print "${name} ", ($r_${name} < 0 ? $!+0 : "ok"), "\\n";`,
      )
      .join('\n');
    const answers = Object.fromEntries(
      (await inside(script))
        .trim()
        .split('\n')
        .map((line) => line.split(' ')),
    );
    expect(answers).toEqual({
      ...Object.fromEntries(Object.keys(calls).map((name) => [name, '1'])),
      unix_socket: 'ok',
      inet_socket: '97',
      inet6_socket: '97',
      netlink_socket: '97',
      vsock_socket: '97',
      packet_socket: '97',
      alg_socket: '97',
      io_uring_setup: '38',
    });
  });

  test("another instance's folder, the agent and the machine are nowhere to be found", async ({
    expect,
    skip,
  }) => {
    if (sandbox.status.level !== 'full')
      skip(`SKIPPED, not proved here: the sandbox is ${sandbox.status.level}`);
    const other = `${folder.path}/box/s/other`;
    await mkdir(other, { recursive: true, mode: 0o777 });
    await writeFile(`${other}/w.sock`, 'secret', { mode: 0o666 });
    const paths = [
      other,
      `${other}/w.sock`,
      `${folder.path}/box`,
      '/run/in/../other/w.sock',
      '/proc/1/root',
      '/proc/self/fd',
      '/sys',
      '/dev/null',
      '/etc/passwd',
      '/tmp',
      '/home',
      '/root',
    ];
    const text = await inside(`
      for my $path (${paths.map((path) => `'${path}'`).join(', ')}) {
        print "$path ", (-e $path ? 'SEEN' : 'absent'), "\\n";
      }
      opendir(my $d, '/run') or print "run: $!\\n"; print "run ", join(',', sort grep { !/^\\./ } readdir $d), "\\n";
      opendir(my $e, '/run/in'); print "own ", join(',', sort grep { !/^\\./ } readdir $e), "\\n";`);
    expect(text.trim().split('\n')).toEqual([
      ...paths.map((path) => `${path} absent`),
      'run in',
      'own try.pl',
    ]);
  });

  test('nothing can be written, and the slot has only its own folder', async ({ expect, skip }) => {
    if (sandbox.status.level !== 'full')
      skip(
        `SKIPPED, not proved here: the sandbox is ${sandbox.status.level}: ${sandbox.status.missing.join('; ')}`,
      );
    const text = await inside(`
      open(my $a, '>', '/escape') or print "root: ", $!+0, "\\n";
      $SIG{XFSZ} = 'IGNORE';
      open(my $b, '>', '/run/in/f') or print "open: ", $!+0, "\\n";
      print "write: ", (defined syswrite($b, 'x') ? 'ok' : $!+0), "\\n";
      print "uid $<\\n";`);
    expect(text).toContain('root: 30'); // EROFS
    expect(text).toContain('write: 27'); // EFBIG
  });
});
