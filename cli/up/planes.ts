/** The planes by name, and the file that runs each. */
import { fileURLToPath } from 'node:url';

export type PlaneName = 'control' | 'scheduler' | 'node' | 'gateway';

/** File that runs a plane: TypeScript beside this one in the repository, JavaScript in an installed package. */
export function planeMain(plane: PlaneName): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const folder = plane === 'node' ? 'nodes' : plane;
  return fileURLToPath(new URL(`../../${folder}/main.${extension}`, import.meta.url));
}
