/**
 * Attacks from below JavaScript: what somebody can do who has taken over workerd itself.
 *
 * A Perl program takes the place of workerd in the command line, limits and identity of a slot that the
 * node is running: whatever that slot is confined by, the program is too. Each attempt runs in a child of
 * its own, does no harm where it succeeds, and returns its loot or undefined with errno set.
 */
import type { SlotProcess } from './slots.ts';

/** What the attacker is told, beside the folder that is his. */
export interface Prey {
  readonly credentials: string;
  readonly kek: string;
  readonly database: string;
  readonly runDir: string;
  readonly sockets: Readonly<Record<'control' | 'scheduler' | 'node', string>>;
  readonly ports: Readonly<Record<'control' | 'gateway', number>>;
  readonly agentPid: number;
  /** An instance of somebody else. */
  readonly neighbour: SlotProcess;
  /** Abstract Unix socket that listens in the machine's own network namespace. */
  readonly abstractName: string;
  /** Folder that everybody on the machine may write to. */
  readonly openFolder: string;
}

export interface NativeAttack {
  readonly name: string;
  /** Body of a Perl sub. */
  readonly perl: (prey: Prey) => string;
  /** What the refusal says: errno as a number, or text of `die`. */
  readonly held: RegExp;
  /** Without a sandbox it succeeds for any user: this is what the sandbox is for. */
  readonly needsSandbox: boolean;
}

const text = (value: string): string => `'${value.replaceAll(/['\\]/g, '\\$&')}'`;

type Options = Pick<NativeAttack, 'held' | 'needsSandbox'>;

/** errno of what is not there at all: ENOENT, ESRCH, ECONNREFUSED, ENOTDIR, EACCES. */
const ABSENT: Options = { held: /^errno (?:2|3|13|20|111)$/, needsSandbox: true };
/** ESRCH, or EPERM from the filter. */
const SIGNAL: Options = { held: /^errno (?:1|3)$/, needsSandbox: true };
/** EPERM, ENOSYS from the filter; EAFNOSUPPORT for families. */
const FILTERED: Options = { held: /^errno (?:1|38|97)$/, needsSandbox: false };
const FAMILY: Options = { held: /^errno 97$/, needsSandbox: true };
const FAMILY_OF_ROOT: Options = { ...FAMILY, needsSandbox: false };

function native(name: string, { held, needsSandbox }: Options, perl: NativeAttack['perl']): NativeAttack {
  return { name: `native: ${name}`, perl, held, needsSandbox };
}

const read = (name: string, path: (prey: Prey) => string, options = ABSENT): NativeAttack =>
  native(
    name,
    options,
    (prey) =>
      `open(my $f, '<', ${text(path(prey))}) or return undef; read($f, my $loot, 16) // return undef; return "read " . length($loot) . " bytes";`,
  );
const list = (name: string, path: (prey: Prey) => string, options = ABSENT): NativeAttack =>
  native(
    name,
    options,
    (prey) => `opendir(my $d, ${text(path(prey))}) or return undef; return "listed " . scalar(readdir($d));`,
  );
/** Packed `sockaddr_un`; `name` is a Perl expression. */
const unix = (name: string, perlName: (prey: Prey) => string, options = ABSENT): NativeAttack =>
  native(
    name,
    options,
    (prey) =>
      `socket(my $s, 1, 1, 0) or return undef; connect($s, pack('S a*', 1, ${perlName(prey)})) or return undef; return 'connected';`,
  );
const tcp = (name: string, port: (prey: Prey) => number): NativeAttack =>
  native(
    name,
    FAMILY,
    (prey) =>
      `socket(my $s, 2, 1, 0) or return undef; connect($s, pack('S n C4 x8', 2, ${port(prey)}, 127, 0, 0, 1)) or return undef; return 'connected';`,
  );
const family = (name: string, words: string, options = FAMILY): NativeAttack =>
  native(name, options, () => `socket(my $s, ${words}) or return undef; return 'opened';`);
/** A system call by its number on x86-64. */
const call = (name: string, words: string | ((prey: Prey) => string), options = FILTERED): NativeAttack =>
  native(
    name,
    options,
    (prey) =>
      `my $r = syscall(${typeof words === 'string' ? words : words(prey)}); return $r < 0 ? undef : "returned $r";`,
  );

const FILES: readonly NativeAttack[] = [
  read('the owner key of the platform', (prey) => prey.credentials),
  read('the key-encryption key', (prey) => prey.kek),
  read('the database', (prey) => prey.database),
  read('/etc/passwd', () => '/etc/passwd'),
  list('the folder of the sockets', (prey) => prey.runDir),
  list('the folder of another slot', (prey) => prey.neighbour.folder),
  list('/proc', () => '/proc'),
  read('the environment of the agent', (prey) => `/proc/${prey.agentPid}/environ`),
  read('the command line of a neighbour', (prey) => `/proc/${prey.neighbour.pid}/cmdline`),
  list('/dev', () => '/dev'),
  list('/sys', () => '/sys'),
  native(
    'a file in a folder that all may write to',
    ABSENT,
    (prey) => `open(my $f, '>', ${text(`${prey.openFolder}/planted`)}) or return undef; return 'created';`,
  ),
  native(
    'a file of any size in its own folder',
    { held: /^errno 27$/, needsSandbox: true },
    () =>
      `$SIG{XFSZ} = 'IGNORE'; open(my $f, '>', 'grown') or return undef; defined(syswrite($f, 'x' x 65536)) or return undef; return 'wrote';`,
  ),
  native(
    'a file in memory',
    { held: /^errno (?:1|27)$/, needsSandbox: true },
    () =>
      `$SIG{XFSZ} = 'IGNORE'; my $name = 'm'; my $fd = syscall(319, $name, 0); return undef if $fd < 0; return syscall(77, $fd, 65536) < 0 ? undef : 'grown';`,
  ),
  native(
    'a symbolic link in the place of its socket, for the gateway to follow',
    { held: /^errno 1$/, needsSandbox: true },
    (prey) =>
      `symlink(${text(prey.sockets.control)}, 'link.sock') or return undef; unlink('link.sock'); return 'linked';`,
  ),
  native(
    'a hard link in the place of its socket',
    { held: /^errno (?:1|2)$/, needsSandbox: false },
    (prey) =>
      `link(${text(prey.sockets.control)}, 'hard.sock') or return undef; unlink('hard.sock'); return 'linked';`,
  ),
  native(
    'a folder',
    { held: /^errno 1$/, needsSandbox: true },
    () => `mkdir('folder') or return undef; rmdir('folder'); return 'made';`,
  ),
  native(
    'another program',
    ABSENT,
    () => `exec { '/bin/sh' } 'sh', '-c', 'echo "ESCAPED ran a shell" >&' . $out; return undef;`,
  ),
];

const SOCKETS: readonly NativeAttack[] = [
  ...(['control', 'scheduler', 'node'] as const).map((plane) =>
    unix(`the socket of the ${plane}`, (prey) => `${text(prey.sockets[plane])} . "\\0"`),
  ),
  unix('the socket of a neighbour', (prey) => `${text(`${prey.neighbour.folder}/w.sock`)} . "\\0"`),
  unix('an abstract socket of the machine', (prey) => `"\\0" . ${text(prey.abstractName)}`),
  tcp('the control API', (prey) => prey.ports.control),
  tcp('the gateway', (prey) => prey.ports.gateway),
  native(
    'a datagram to a name server',
    FAMILY,
    () =>
      `socket(my $s, 2, 2, 0) or return undef; defined(send($s, 'x', 0, pack('S n C4 x8', 2, 9, 127, 0, 0, 1))) or return undef; return 'sent';`,
  ),
  family('IPv6', '10, 1, 0'),
  family('netlink', '16, 3, 0'),
  family('raw packets', '17, 3, 0', FAMILY_OF_ROOT),
  family('the sockets of virtual machines', '40, 1, 0', FAMILY_OF_ROOT),
  family('the crypto of the kernel', '38, 5, 0', FAMILY_OF_ROOT),
];

const PROCESSES: readonly NativeAttack[] = [
  native(
    'a signal to the agent',
    SIGNAL,
    (prey) => `kill(0, ${prey.agentPid}) or return undef; return 'may signal';`,
  ),
  native(
    'a signal to a neighbour',
    SIGNAL,
    (prey) => `kill(0, ${prey.neighbour.pid}) or return undef; return 'may signal';`,
  ),
  native(
    'seeing who its parents are',
    { held: /nobody/, needsSandbox: true },
    () => `my $p = getppid(); die "nobody\\n" if $p <= 2; return "pid $p";`,
  ),
  call('ptrace of a neighbour', (prey) => `101, 0x4206, ${prey.neighbour.pid}, 0, 0`),
  call('memory of a neighbour', (prey) => `310, ${prey.neighbour.pid}, 0, 1, 0, 1, 0`),
  call('a user namespace', '272, 0x10000000'),
  call('a mount namespace', '272, 0x20000'),
  call('the namespace of another', '308, 0, 0'),
  call('a mount', '165, 0, 0, 0, 0, 0'),
  call('pivot_root', '155, 0, 0'),
  call('another root', '161, my $up = "."'),
  call('root', '105, 0'),
  call('a higher limit', '160, 2, 0'),
  call('a device', '133, my $name = "dev", 0060600, 0x100'),
  call('bpf', '321, 0, 0, 0'),
  call('keys of the kernel', '250, 0, -3, 0, 0, 0'),
  call('performance events', '298, 0, 0, 0, 0, 0'),
  call('faults handled by itself', '323, 0'),
  call('io_uring', '425, 1, 0'),
  call('shared memory of the machine', '29, 0x1505, 4096, 0'),
  call('keystrokes of a terminal', '16, 0, 0x5412, my $key = "x"'),
  native(
    'more memory than its limit',
    { held: /^errno 12$/, needsSandbox: true },
    () =>
      // Private, writable, anonymous: never touched, so it costs nothing where it succeeds.
      `my $r = syscall(9, 0, 8 << 30, 3, 0x4022, -1, 0); return $r == -1 ? undef : 'mapped';`,
  ),
  native(
    'more open files than its limit',
    { held: /^errno (?:1|24)$/, needsSandbox: false },
    () =>
      `my @open; for (1 .. 5000) { my $fd = syscall(32, 1); return undef if $fd < 0; push @open, $fd } return 'opened 5000';`,
  ),
];

export const NATIVE: readonly NativeAttack[] = [...FILES, ...SOCKETS, ...PROCESSES];

/** One program with all attempts; prints a line `index<TAB>verdict` for each. */
export function nativeProgram(attacks: readonly NativeAttack[], prey: Prey): string {
  const subs = attacks.map(({ perl }, index) => `attempt(${index}, sub { ${perl(prey)} });`);
  return `$| = 1;
# A program in the child's place still has its pipe.
$^F = 255;
our $out = 1;
sub attempt {
  my ($index, $code) = @_;
  # The end of its output is the end of a child: waiting for it may be refused.
  pipe(my $read, my $write) or die "no pipe: $!";
  my $pid = fork();
  if (!defined $pid) { print "$index\\tno child: ", $!+0, "\\n"; return; }
  if ($pid == 0) {
    close($read);
    $out = fileno($write);
    select($write);
    $! = 0;
    my $loot = eval { $code->() };
    my $errno = $! + 0;
    print defined $loot ? "ESCAPED $loot\\n" : $@ ? "died $@" : "errno $errno\\n";
    exit 0;
  }
  close($write);
  my $verdict = join('', <$read>);
  chomp $verdict;
  print "$index\\t$verdict\\n";
}
${subs.join('\n')}
print "end\\t\\n";
`;
}
