/** `isoplane control|scheduler|gateway|node`: one plane in this very process, as a service manager wants it. */
import { pathToFileURL } from 'node:url';
import process from 'node:process';
import type { Context } from '../context.ts';
import { whenParentIsGone } from '../parent.ts';
import { checkSettings } from './settings.ts';
import { planeMain, type PlaneName } from './planes.ts';

export async function runAlone(plane: PlaneName, context: Context): Promise<void> {
  checkSettings(process.env, plane);
  process.env['ISOPLANE_DATA_DIR'] ??= context.options.data ?? '.isoplane';
  if (plane !== 'node') process.umask(0o077);
  whenParentIsGone(() => process.kill(process.pid, 'SIGTERM'));
  await import(pathToFileURL(planeMain(plane)).href);
}
