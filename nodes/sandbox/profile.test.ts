/** Command lines of slots, as values. */
import { describe, test } from 'vitest';
import { dataLimitCommand, slotCommand, type SandboxProfile, type SlotTerms } from './profile.ts';
import { ownIdentities } from './identities.ts';
import { TIER_LIMITS } from './tiers.ts';

const full: SandboxProfile = {
  setpriv: '/usr/bin/setpriv',
  prlimit: '/usr/bin/prlimit',
  bwrap: '/usr/bin/bwrap',
  disableUserns: true,
  dropTo: { uid: 65_534, gid: 65_534 },
};
const paths = { rootfs: '/box/root', slotDir: '/box/s/1', workerd: '/real/workerd' };
const terms: SlotTerms = {
  identity: { uid: 65_534, gid: 65_534 },
  tier: TIER_LIMITS.standard,
  data: { softBytes: 10, hardBytes: 20 },
};

describe('slotCommand()', () => {
  test('root gives up its identity first, the filter comes last', ({ expect }) => {
    const { file, args, sandboxed } = slotCommand(full, paths, terms);
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
    expect(slotCommand(full, paths, { ...terms, identity: undefined }).file).toBe('/usr/bin/prlimit');
  });

  test('without bwrap the process still dies with the agent and gains no privileges', ({ expect }) => {
    const { args, sandboxed } = slotCommand({ ...full, bwrap: undefined }, paths, terms);
    expect(sandboxed).toBe(false);
    expect(args.join(' ')).toContain('--pdeathsig KILL --no-new-privs');
    expect(args.join(' ')).toContain('/real/workerd serve');
    expect(args.join(' ')).toContain('unix:w.sock');
  });

  test('with nothing at all workerd is run as it is', ({ expect }) => {
    const bare = { ...full, setpriv: undefined, prlimit: undefined, bwrap: undefined, dropTo: undefined };
    expect(slotCommand(bare, paths, terms).file).toBe('/real/workerd');
  });
});

describe('tiers', () => {
  const line = (tier: 'standard' | 'strict', identity: SlotTerms['identity']): string =>
    slotCommand(full, paths, { ...terms, tier: TIER_LIMITS[tier], identity }).args.join(' ');

  test('a strict slot runs as its own user with smaller limits', ({ expect }) => {
    const strict = line('strict', { uid: 1_900_000_007, gid: 1_900_000_007 });
    expect(strict).toContain('--reuid 1900000007 --regid 1900000007 --clear-groups');
    expect(strict).toContain('--nofile=2048');
    expect(strict).toContain('--nproc=32');
    const standard = line('standard', terms.identity);
    expect(standard).toContain('--nofile=4096');
    // The limit is counted over all processes of a user.
    expect(standard).not.toContain('--nproc');
    expect(line('strict', undefined)).not.toContain('--nproc');
  });

  test('no limit of the strict tier is above that of the standard one', ({ expect }) => {
    const { standard, strict } = TIER_LIMITS;
    for (const name of ['openFilesMax', 'processesMax', 'cpuWeight', 'extraMemoryMb'] as const)
      expect(strict[name], name).toBeLessThanOrEqual(standard[name]);
  });
});

describe('ownIdentities()', () => {
  test('gives each user to one instance at a time and lets it rest the longest', ({ expect }) => {
    const own = ownIdentities({ first: 100, count: 2 });
    const one = own.take();
    expect([one, own.take()]).toEqual([
      { uid: 100, gid: 100 },
      { uid: 101, gid: 101 },
    ]);
    expect(() => own.take()).toThrow(/all 2 user ids/);
    own.release({ uid: 101, gid: 101 });
    own.release({ uid: 100, gid: 100 });
    expect([own.take()?.uid, own.take()?.uid]).toEqual([101, 100]);
  });
});

describe('dataLimitCommand()', () => {
  test('moves the soft limit as the user of the slot', ({ expect }) => {
    expect(dataLimitCommand(full, { pid: 7, identity: terms.identity }, 99)?.join(' ')).toBe(
      '/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/prlimit --pid 7 --data=99:',
    );
    expect(
      dataLimitCommand({ ...full, prlimit: undefined }, { pid: 7, identity: undefined }, 99),
    ).toBeUndefined();
  });
});
