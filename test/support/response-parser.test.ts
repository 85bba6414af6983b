/** Goal: the load generator counts what was sent. Method: every response is fed in all possible splits. */
import { describe, test } from 'vitest';
import { ResponseParser, type ParsedResponse } from './response-parser.ts';

const STREAM = [
  'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.1 204 No Content\r\n\r\n',
  'HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n',
  'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n',
].join('');
const EXPECTED = [
  [200, 'hello'],
  [204, ''],
  [201, 'abc0123456789'],
  [404, ''],
];

function parse(...chunks: string[]): ParsedResponse[] {
  const responses: ParsedResponse[] = [];
  const parser = new ResponseParser((response) => responses.push(response));
  for (const chunk of chunks) parser.push(Buffer.from(chunk));
  return responses;
}

describe('ResponseParser', () => {
  test('reads responses however they are split', ({ expect }) => {
    for (let cut = 0; cut <= STREAM.length; cut += 1)
      expect(
        parse(STREAM.slice(0, cut), STREAM.slice(cut)).map(({ status, body }) => [status, body]),
      ).toEqual(EXPECTED);
    expect(parse(...STREAM.split('')).map(({ status, body }) => [status, body])).toEqual(EXPECTED);
  });

  test('refuses what is no HTTP', ({ expect }) => {
    expect(() => parse('SSH-2.0-OpenSSH\r\n\r\n')).toThrow('not an HTTP/1 response');
  });

  test('refuses a head without end', ({ expect }) => {
    expect(() => parse(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(65 * 1024)}`)).toThrow('has no end');
  });
});
