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

/** The newest date that the binary knows. */
export function workerdDate(): string {
  return load().compatibilityDate;
}
