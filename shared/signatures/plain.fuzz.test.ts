/**
 * Goal: whatever is read as plain, the parser of structured fields reads in the same way, and would write as it came.
 * Method: headers as signers write them are cut and mended at random and given to both. A run takes a seed of its own,
 * which a failure prints, and those in SEEDS.
 */
import { parseDictionary, serializeInnerList, type InnerList } from 'structured-headers';
import { describe, test } from 'vitest';
import { seededRandom } from '../testing/fakes.ts';
import { readPlainInput, readPlainSignature } from './plain.ts';

const SEEDS = [1, 2, 3, 20_261_128];
const CASES_PER_SEED = 60_000;

const PIECES = [
  ...'( ) " ; = : , ? @ \\ - + _ . * / a Z 0 1 9'.split(' '),
  ' ',
  '\t',
  '\n',
  '\r',
  '\u0000',
  '\u007f',
  '\u00e6',
  '"@path"',
  ' "@query"',
  '"date";sf',
  ';created=1',
  ';created=01',
  ';created=-1',
  ';created=1.0',
  ';created=9999999999999999',
  ';created=?1',
  ';created',
  ';expires="2"',
  ';nonce="a\\"b"',
  ';nonce=token',
  ';keyid=:AAAA:',
  ';tag="x"',
  ';a=1',
  ', b=("@method")',
  ', a=:AAAA:',
  'AA==',
  'AA=',
  'AB==',
  ':;x=1',
];

const PARAMETERS = ['created=1700000000', 'expires=1700000060', 'nonce="n-1"', 'keyid="k1"', 'alg="ed25519"'];

interface Headers {
  readonly input: string;
  readonly signature: string;
}

function makeCase(random: () => number): Headers {
  const below = (count: number): number => Math.floor(random() * count);
  const broken = (text: string): string => {
    let result = text;
    for (let count = random() < 0.4 ? 0 : 1 + below(3); count > 0; count -= 1) {
      const at = below(result.length + 1);
      const removed = random() < 0.5 ? 0 : below(4);
      const piece = random() < 0.7 ? (PIECES[below(PIECES.length)] ?? '') : '';
      result = result.slice(0, at) + piece + result.slice(at + removed);
    }
    return result;
  };
  const names = ['@method', '@authority', '@path', 'x-a'].slice(below(4)).map((name) => `"${name}"`);
  const parameters = PARAMETERS.filter(() => random() < 0.8).map((parameter) => `;${parameter}`);
  const bytes = Buffer.from(Array.from({ length: below(40) }, () => below(256))).toString('base64');
  return {
    input: broken(`a=(${names.join(' ')})${parameters.join('')}`),
    signature: broken(`a=:${bytes}:`),
  };
}

describe('plain headers of a signature', () => {
  const fresh = Math.floor(Math.random() * 2 ** 31);
  test.for([...SEEDS, fresh])('are read as structured fields are, seed %d', (seed, { expect }) => {
    const random = seededRandom(seed);
    let plainInputs = 0;
    let plainSignatures = 0;
    for (let index = 0; index < CASES_PER_SEED; index += 1) {
      const { input, signature } = makeCase(random);
      const context = `seed ${seed}, case ${index}: ${JSON.stringify({ input, signature })}`;
      const plain = readPlainInput(input);
      if (plain !== undefined) {
        plainInputs += 1;
        const read = [...parseDictionary(input)];
        expect(read, context).toEqual([[plain.label, plain.covered]]);
        expect(serializeInnerList(read[0]?.[1] as InnerList), context).toBe(plain.text);
      }
      const bytes = readPlainSignature(signature, 'a');
      if (bytes === undefined) continue;
      plainSignatures += 1;
      expect([...parseDictionary(signature)], context).toEqual([['a', [bytes.buffer, new Map()]]]);
    }
    // Enough of them are plain, so that this means something; the others are made to look like them.
    expect(Math.min(plainInputs, plainSignatures)).toBeGreaterThan(CASES_PER_SEED / 4);
  });
});

describe('what signers write', () => {
  const input =
    'isoplane=("@method" "@authority" "@path" "@query" "content-digest");created=1;expires=2;nonce="n";keyid="k";alg="ed25519"';

  test('is plain', ({ expect }) => {
    expect(readPlainInput(input)).toMatchObject({ label: 'isoplane', text: input.slice('isoplane='.length) });
    expect(readPlainSignature('isoplane=:AQID:', 'isoplane')).toEqual(new Uint8Array([1, 2, 3]));
    expect(readPlainSignature('isoplane=:AQID:', 'other')).toBeUndefined();
  });

  test.for([
    ['a parameter twice', input.replace(';alg', ';created=3;alg')],
    ['a parameter of others', `${input};tag="x"`],
    ['a parameter of a component', input.replace('"@path"', '"@path";req')],
    ['an escaped quote', input.replace('"n"', String.raw`"n\""`)],
    ['an integer with a leading zero', input.replace('created=1', 'created=01')],
    ['two signatures', `${input}, b=("@method")`],
  ] as const)('is not plain with %s', ([, header], { expect }) => {
    expect(readPlainInput(header)).toBeUndefined();
    expect(() => parseDictionary(header)).not.toThrow();
  });
});
