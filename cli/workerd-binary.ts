/** The platform's workerd: where it lies, and the newest compatibility date it knows. */
import { createRequire } from 'node:module';

interface WorkerdPackage {
  readonly default: string;
  /** YYYY-MM-DD. */
  readonly compatibilityDate: string;
}

function load(): WorkerdPackage {
  return createRequire(import.meta.url)('workerd') as WorkerdPackage;
}

/** The npm package picks the binary of this machine. */
export function workerdBinary(): string {
  return load().default;
}

/** A date in the future is refused, even when the binary knows it. */
export function newestCompatibilityDate(nowMs: number): string {
  const today = new Date(nowMs).toISOString().slice(0, 10);
  const { compatibilityDate } = load();
  return compatibilityDate < today ? compatibilityDate : today;
}
