/**
 * Ctrl-C while the platform carries out a change. The request is out, so the change may be made all the same:
 * the command ends at once, but neither in silence nor as if it had succeeded.
 */
import process from 'node:process';
import { CliError, EXIT } from './failure.ts';

/** One Ctrl-C may arrive more than once: from the terminal, from npm, from the launcher. */
export const SAME_SIGNAL_MS = 1_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** @throws {CliError} `interrupted`. */
export async function whileChanging<T>(
  change: (signal: AbortSignal) => Promise<T>,
  advice = 'Look before you repeat it.',
): Promise<T> {
  const interruption = new AbortController();
  let firstMs: number | undefined;
  const interrupt = (): void => {
    const nowMs = performance.now();
    firstMs ??= nowMs;
    interruption.abort();
    if (nowMs - firstMs > SAME_SIGNAL_MS) process.exit(EXIT.interrupted);
  };
  for (const signal of SIGNALS) process.on(signal, interrupt);
  try {
    return await change(interruption.signal);
  } catch (thrown) {
    if (!interruption.signal.aborted) throw thrown;
    // The repetition of the signal may come after this.
    throw new CliError('interrupted', 'Interrupted: the platform may still carry out the change.', {
      advice,
      exitCode: EXIT.interrupted,
    });
  } finally {
    if (!interruption.signal.aborted) for (const signal of SIGNALS) process.off(signal, interrupt);
  }
}
