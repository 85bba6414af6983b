/**
 * npm, npx and their like put a shell between themselves and a command. SIGTERM they pass on to it, and it ends without
 * passing it further: a platform that was started by `npm start` would outlive it, and hold its ports. Whoever runs until
 * he is told to end takes the end of his parent for the word.
 */
import process from 'node:process';

const LOOK_MS = 500;

/** Calls once when the parent has gone; only for a process that a package manager started. */
export function whenParentIsGone(stop: () => void): void {
  if (process.env['npm_lifecycle_event'] === undefined) return;
  const parent = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(look);
    stop();
  }, LOOK_MS);
  look.unref();
}
