/** Command lines of slots, as values. */
import { describe, test } from 'vitest';
import { dataLimitCommand, slotCommand, type SandboxProfile } from './profile.ts';

const full: SandboxProfile = {
  setpriv: '/usr/bin/setpriv',
  prlimit: '/usr/bin/prlimit',
  bwrap: '/usr/bin/bwrap',
  disableUserns: true,
  dropTo: { uid: 65_534, gid: 65_534 },
};
const paths = { rootfs: '/box/root', slotDir: '/box/s/1', workerd: '/real/workerd' };
const data = { softBytes: 10, hardBytes: 20 };

describe('slotCommand()', () => {
  test('root gives up its identity first, the filter comes last', ({ expect }) => {
    const { file, args, sandboxed } = slotCommand(full, paths, data);
    const line = [file, ...args].join(' ');
    expect(sandboxed).toBe(true);
    expect(line).toMatch(
      /^\/usr\/bin\/setpriv --reuid 65534 .* \/usr\/bin\/prlimit .*--data=10:20 \/usr\/bin\/bwrap /,
    );
    expect(line).toContain('--unshare-all --unshare-user --disable-userns');
    expect(line).toContain('--cap-drop ALL');
    expect(line).toContain('--seccomp 4');
    expect(line).toMatch(
      /\/bin\/workerd serve --binary - --socket-addr=instance=unix:w\.sock --control-fd=3$/,
    );
    expect(line).not.toContain('/real/workerd');
  });

  test('an unprivileged agent needs no setpriv inside bwrap', ({ expect }) => {
    expect(slotCommand({ ...full, dropTo: undefined }, paths, data).file).toBe('/usr/bin/prlimit');
  });

  test('without bwrap the process still dies with the agent and gains no privileges', ({ expect }) => {
    const { args, sandboxed } = slotCommand({ ...full, bwrap: undefined }, paths, data);
    expect(sandboxed).toBe(false);
    expect(args.join(' ')).toContain('--pdeathsig KILL --no-new-privs');
    expect(args.join(' ')).toContain('/real/workerd serve');
    expect(args.join(' ')).toContain('unix:w.sock');
  });

  test('with nothing at all workerd is run as it is', ({ expect }) => {
    const bare = { ...full, setpriv: undefined, prlimit: undefined, bwrap: undefined, dropTo: undefined };
    expect(slotCommand(bare, paths, data).file).toBe('/real/workerd');
  });
});

describe('dataLimitCommand()', () => {
  test('moves the soft limit as the user of the slot', ({ expect }) => {
    expect(dataLimitCommand(full, 7, 99)?.join(' ')).toBe(
      '/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/prlimit --pid 7 --data=99:',
    );
    expect(dataLimitCommand({ ...full, prlimit: undefined }, 7, 99)).toBeUndefined();
  });
});
