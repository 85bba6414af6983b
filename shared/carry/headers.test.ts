/** Which headers pass between callers and instances. */
import { describe, test } from 'vitest';
import { requestHeaders, responseHeaders } from './headers.ts';

describe('requestHeaders()', () => {
  test('drops what belongs to one connection and what only the platform may say', ({ expect }) => {
    const dropped = [
      'X-Hop',
      'TE',
      'Isoplane-Principal',
      'isoplane-cf',
      'Transfer-Encoding',
      'content-length',
      'X-Forwarded-For',
      'x-forwarded-anything',
      'Forwarded',
      'X-Real-IP',
      'True-Client-IP',
      'CF-Connecting-IP',
      'cf-ray',
      'cf-ipcountry',
      'cf-worker',
      'mf-cf-blob',
      'http2-settings',
    ];
    const raw = ['Host', 'a.b', 'Connection', 'X-Hop, close, host', 'X-Own', '1'];
    const headers = requestHeaders([...raw, ...dropped.flatMap((name) => [name, 'evil'])], ['x-ours', '2']);
    expect(headers).toEqual(['Host', 'a.b', 'X-Own', '1', 'x-ours', '2']);
    expect(requestHeaders(['A', '1', 'B', '2'], [], new Set(['a']))).toEqual(['B', '2']);
  });

  test('joins lines of Cookie as cookies, and leaves the bytes of values', ({ expect }) => {
    const raw = ['cookie', 'a=1', 'X', '\u00e6\u0097\u00a5', 'Cookie', 'b=2', 'cookie', 'c=3'];
    expect(requestHeaders(raw, [])).toEqual(['cookie', 'a=1; b=2; c=3', 'X', '\u00e6\u0097\u00a5']);
  });
});

describe('responseHeaders()', () => {
  test('keeps what the function says, its length last', ({ expect }) => {
    const raw = [
      'Content-Length',
      '3',
      'isoplane-outcome',
      'x',
      'Content-Disposition',
      'a',
      'keep-alive',
      'x',
    ];
    expect(responseHeaders(raw, ['x-ours', '1'])).toEqual([
      'Content-Disposition',
      'a',
      'Content-Length',
      '3',
      'x-ours',
      '1',
    ]);
  });
});
