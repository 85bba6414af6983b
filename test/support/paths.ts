import { join } from 'node:path';

/** Top folder of the checkout. */
export const repositoryRoot = join(import.meta.dirname, '..', '..');
