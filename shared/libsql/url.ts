/** Addresses of libSQL servers, as settings name them. */
import { z } from 'zod';

const SCHEMES = ['http:', 'https:', 'ws:', 'wss:'];

/** Secrets do not belong in it: it is shown in messages, and may be an argument that everybody on the machine sees. */
export const libsqlUrlSchema = z
  .string()
  .max(2_000)
  .refine((text) => URL.canParse(text) && SCHEMES.includes(new URL(text).protocol), {
    error: 'use the address of a libSQL server: http://, https://, ws:// or wss://',
    abort: true,
  })
  .refine((text) => {
    const { username, password, searchParams } = new URL(text);
    return username === '' && password === '' && !searchParams.has('authToken');
  }, 'the token does not belong in the address: set it by its own setting');
