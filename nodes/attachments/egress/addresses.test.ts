/** Every kind of address that must not be reached, in every form in which it can be written; and those that may. */
import { describe, test } from 'vitest';
import { nodeEnvironmentSchema } from '../../config.ts';
import { addressPolicy, isPublicAddress, parseExemption } from './addresses.ts';

const REFUSED_V4 = [
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.0',
  '10.255.255.255',
  '100.64.0.0',
  '100.127.255.255',
  '100.100.100.200',
  '127.0.0.1',
  '127.255.255.255',
  '168.63.129.16',
  '169.254.0.1',
  '169.254.169.254',
  '172.16.0.0',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.0.192',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.0.0',
  '192.168.255.255',
  '198.18.0.0',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
];
const PUBLIC_V4 = [
  '1.1.1.1',
  '8.8.8.8',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.0',
  '169.253.255.255',
  '169.255.0.0',
  '172.15.255.255',
  '172.32.0.0',
  '192.0.1.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
];

const hexOf = (address: string): string => {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
};

describe('isPublicAddress()', () => {
  test('refuses what is special in IPv4, at both ends of each range', ({ expect }) => {
    expect(REFUSED_V4.filter(isPublicAddress)).toEqual([]);
    expect(PUBLIC_V4.filter((address) => !isPublicAddress(address))).toEqual([]);
  });

  test('refuses every IPv6 form that carries an IPv4 address; NAT64 is judged by what it carries', ({
    expect,
  }) => {
    for (const address of [...REFUSED_V4, ...PUBLIC_V4]) {
      const inside = hexOf(address);
      const forms = [
        `::ffff:${address}`,
        `::ffff:${inside}`,
        `::${address}`,
        `::${inside}`,
        `2002:${inside}::1`,
        `2001:0:${inside}::1`,
        `64:ff9b:1::${inside}`,
      ];
      expect(forms.filter(isPublicAddress), address).toEqual([]);
      expect(isPublicAddress(`64:ff9b::${inside}`), address).toBe(PUBLIC_V4.includes(address));
    }
  });

  test('refuses what is special in IPv6', ({ expect }) => {
    const refused = [
      '::',
      '::1',
      '100::1',
      'fc00::1',
      'fd00:ec2::254',
      'fdff::1',
      'fe80::1',
      'fe80::1%eth0',
      'febf::1',
      'fec0::1',
      'ff02::1',
      '2001:2::1',
      '2001:20::1',
      '2001:db8::1',
      '2002::1',
      '3fff::1',
      '4000::1',
      '5f00::1',
      '1fff::1',
    ];
    expect(refused.filter(isPublicAddress)).toEqual([]);
    const allowed = [
      '2000::1',
      '2606:4700:4700::1111',
      '2001:4860:4860::8888',
      '2a00:1450::1',
      '3ffe:ffff::1',
    ];
    expect(allowed.filter((address) => !isPublicAddress(address))).toEqual([]);
  });

  test('refuses what is no address', ({ expect }) => {
    expect(
      ['', 'example.com', '127.1', '0x7f.0.0.1', '1.2.3.4.5', '1.2.3.4/8'].filter(isPublicAddress),
    ).toEqual([]);
  });
});

describe('exemptions', () => {
  test('open just the range or the address and port that they name', ({ expect }) => {
    const policy = addressPolicy(['127.0.0.0/8', '10.1.2.3:8080', '[::1]:81', 'fd00::/8']);
    const asked: (readonly [string, number])[] = [
      ['127.3.2.1', 1],
      ['10.1.2.3', 8080],
      ['::1', 81],
      ['fd12::1', 9],
      ['8.8.8.8', 53],
      ['10.1.2.3', 8081],
      ['10.1.2.4', 8080],
      ['::1', 80],
      ['fc00::1', 9],
      ['::ffff:127.0.0.1', 1],
      ['::ffff:10.1.2.3', 8080],
    ];
    expect(asked.filter(([address, port]) => policy(address, port))).toEqual(asked.slice(0, 5));
  });

  test('are refused when they are not readable', ({ expect }) => {
    for (const text of [
      '',
      'localhost',
      '127.0.0.1/33',
      '127.0.0.1:0',
      '127.0.0.1:70000',
      '10.0.0.0/8:80',
      '[::1',
      '::1/129',
    ])
      expect(parseExemption(text), text).toBeUndefined();
    expect(() => addressPolicy(['nonsense'])).toThrow(RangeError);
    const read = (text: string): boolean =>
      nodeEnvironmentSchema.safeParse({ ISOPLANE_DATA_DIR: '/x', ISOPLANE_EGRESS_ALLOW_PRIVATE: text })
        .success;
    expect([read(''), read(' 127.0.0.0/8 , [::1]:80 '), read('127.0.0.0/8;10.0.0.0/8')]).toEqual([
      true,
      true,
      false,
    ]);
  });
});
