/**
 * The system call filter of a slot, as a classic BPF program (struct sock_filter[], linux/filter.h).
 *
 * An allow-list: what is not named is answered EPERM. A foreign architecture (32-bit calls on a 64-bit
 * kernel have other numbers) kills the process. Arguments are checked where a call is only partly
 * harmless; pointers cannot be followed by BPF, so only register values are looked at.
 *
 * The kernel caches calls that are allowed whatever their arguments are, so the length of the list
 * costs nothing at run time.
 */
import { ALLOWED_SYSCALLS, FILTERED_SYSCALLS, type SyscallArchitecture } from './syscalls.ts';

export interface BpfInstruction {
  readonly code: number;
  readonly jumpTrue: number;
  readonly jumpFalse: number;
  readonly constant: number;
}

const LOAD_WORD = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER_EQUAL = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_ANY_BIT = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data; both supported architectures are little endian.
const OFFSET_NUMBER = 0;
const OFFSET_ARCHITECTURE = 4;
const offsetArgumentLow = (index: number): number => 16 + 8 * index;

const ALLOW = 0x7fff_0000;
const KILL_PROCESS = 0x8000_0000;
const errno = (number: number): number => 0x0005_0000 | number;

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;
const AF_UNIX = 1;

/** CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: no new namespaces. */
const CLONE_NAMESPACES = 0x7e02_0000;
/** FIONBIO, FIONREAD, FIOCLEX, TCGETS, TIOCGWINSZ: the harmless questions of an event loop. */
const IOCTL_REQUESTS = [0x5421, 0x541b, 0x5451, 0x5401, 0x5413];
/**
 * PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and memory. PR_GET_DUMPABLE, PR_SET_NO_NEW_PRIVS:
 * nothing can be gained by them. Not: dumpability, tracers, speculation, more.
 */
const PRCTL_OPTIONS = [15, 16, 0x5356_4d41, 3, 38];
/** On x86-64 numbers with this bit belong to the x32 ABI, which would evade the list. */
const X32_BIT = 0x4000_0000;

const AUDIT_ARCHITECTURE: Record<SyscallArchitecture, number> = { x64: 0xc000_003e, arm64: 0xc000_00b7 };

const load = (offset: number): BpfInstruction => ({
  code: LOAD_WORD,
  jumpTrue: 0,
  jumpFalse: 0,
  constant: offset,
});
const answer = (value: number): BpfInstruction => ({
  code: RETURN,
  jumpTrue: 0,
  jumpFalse: 0,
  constant: value,
});
const jump = (code: number, constant: number, jumpTrue: number, jumpFalse: number): BpfInstruction => ({
  code,
  jumpTrue,
  jumpFalse,
  constant,
});

/** `body` runs when the loaded number is `number`; it must return. */
function onCall(number: number | undefined, body: readonly BpfInstruction[]): readonly BpfInstruction[] {
  return number === undefined ? [] : [jump(JUMP_EQUAL, number, 0, body.length), ...body];
}

/** Allows when the low half of the argument is one of `values`, otherwise answers `refusal`. */
function onlyArgument(index: number, values: readonly number[], refusal: number): readonly BpfInstruction[] {
  const tests = values.map((value, position) => jump(JUMP_EQUAL, value, values.length - position, 0));
  return [load(offsetArgumentLow(index)), ...tests, answer(refusal), answer(ALLOW)];
}

/** The program for one architecture. Pure. */
export function seccompProgram(architecture: SyscallArchitecture): readonly BpfInstruction[] {
  const column = architecture === 'x64' ? 0 : 1;
  const filtered = (name: keyof typeof FILTERED_SYSCALLS): number | undefined =>
    FILTERED_SYSCALLS[name][column];
  const newLimit = offsetArgumentLow(2);
  return [
    load(OFFSET_ARCHITECTURE),
    jump(JUMP_EQUAL, AUDIT_ARCHITECTURE[architecture], 1, 0),
    answer(KILL_PROCESS),
    load(OFFSET_NUMBER),
    ...(architecture === 'x64' ? [jump(JUMP_GREATER_EQUAL, X32_BIT, 0, 1), answer(KILL_PROCESS)] : []),
    ...Object.values(ALLOWED_SYSCALLS).flatMap((numbers) => onCall(numbers[column], [answer(ALLOW)])),
    ...onCall(filtered('socket'), onlyArgument(0, [AF_UNIX], errno(EAFNOSUPPORT))),
    ...onCall(filtered('socketpair'), onlyArgument(0, [AF_UNIX], errno(EAFNOSUPPORT))),
    ...onCall(filtered('clone'), [
      load(offsetArgumentLow(0)),
      jump(JUMP_ANY_BIT, CLONE_NAMESPACES, 0, 1),
      answer(errno(EPERM)),
      answer(ALLOW),
    ]),
    // Its flags lie behind a pointer; libc falls back to clone.
    ...onCall(filtered('clone3'), [answer(errno(ENOSYS))]),
    ...onCall(filtered('io_uring_setup'), [answer(errno(ENOSYS))]),
    ...onCall(filtered('ioctl'), onlyArgument(1, IOCTL_REQUESTS, errno(EPERM))),
    ...onCall(filtered('prctl'), onlyArgument(0, PRCTL_OPTIONS, errno(EPERM))),
    // Reading limits is fine; raising the soft ones towards the hard ones is not.
    ...onCall(filtered('prlimit64'), [
      load(newLimit),
      jump(JUMP_EQUAL, 0, 0, 2),
      load(newLimit + 4),
      jump(JUMP_EQUAL, 0, 1, 0),
      answer(errno(EPERM)),
      answer(ALLOW),
    ]),
    answer(errno(EPERM)),
  ];
}

/** struct sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
export function encodeBpf(program: readonly BpfInstruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [index, instruction] of program.entries()) {
    view.setUint16(index * 8, instruction.code, true);
    view.setUint8(index * 8 + 2, instruction.jumpTrue);
    view.setUint8(index * 8 + 3, instruction.jumpFalse);
    view.setUint32(index * 8 + 4, instruction.constant >>> 0, true);
  }
  return bytes;
}

export function decodeBpf(bytes: Uint8Array): BpfInstruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / 8 }, (_, index) => ({
    code: view.getUint16(index * 8, true),
    jumpTrue: view.getUint8(index * 8 + 2),
    jumpFalse: view.getUint8(index * 8 + 3),
    constant: view.getUint32(index * 8 + 4, true),
  }));
}
