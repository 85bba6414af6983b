/** Settings of the scheduler, from the environment. */
import { z } from 'zod';

export const schedulerEnvironmentSchema = z.object({
  /** Folder of its journal. */
  ISOPLANE_DATA_DIR: z.string().min(1),
});
