/** `isoplane aliases provision`: instances that an alias keeps ready, also by day and time. */
import { provisionViewSchema, type ProvisionView } from '#shared/contracts/api.ts';
import { provisionSchema, type Provision } from '#shared/contracts/provision.ts';
import { aliasNameSchema, functionNameSchema } from '#shared/ids.ts';
import type { Context } from '../context.ts';
import { argument, usage } from './arguments.ts';

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const WINDOW = /^([a-z,-]+) (\d\d:\d\d)-(\d\d:\d\d)=(\d+)$/;
const WINDOW_ADVICE = 'Write it like "mon-fri 08:00-18:00=5" (UTC), or with "daily" or "sat,sun".';

export async function provision(
  context: Context,
  args: readonly string[],
  options: Record<string, unknown>,
): Promise<void> {
  const name = argument('function', args[0], functionNameSchema);
  const alias = argument('alias', args[1], aliasNameSchema);
  const wanted = options['instances'] !== undefined || options['window'] !== undefined;
  if (options['off'] === true && wanted) throw usage('Give --off or instances, not both.');
  const { api } = await context.platform();
  const path = api.path(`/functions/${name}/aliases/${alias}/provision`);
  if (options['off'] === true) {
    await api.send(path, { method: 'DELETE' });
    context.output.result({ alias, off: true }, () => `${alias} keeps no instances ready`);
    return;
  }
  const view = wanted
    ? await api.call(path, provisionViewSchema, { method: 'PUT', json: provisionOf(options) })
    : await api.call(path, provisionViewSchema);
  context.output.result(view, () => provisionText(view));
}

function provisionOf(options: Record<string, unknown>): Provision {
  const windows = Array.isArray(options['window']) ? options['window'].map(String) : [];
  return argument(
    'provision',
    { instances: options['instances'] ?? 0, schedule: windows.map(parseWindow) },
    provisionSchema,
  );
}

/** `mon-fri 08:00-18:00=5` */
export function parseWindow(text: string): Provision['schedule'][number] {
  const [, days, from, to, instances] = WINDOW.exec(text.trim().toLowerCase()) ?? [];
  if (days === undefined || from === undefined || to === undefined)
    throw usage(`--window: ${JSON.stringify(text)} cannot be read`, WINDOW_ADVICE);
  return { days: parseDays(days), from, to, instances: Number(instances) };
}

function parseDays(text: string): number[] {
  if (text === 'daily') return [0, 1, 2, 3, 4, 5, 6];
  const days = new Set<number>();
  for (const part of text.split(',')) {
    const [first = '', last = first, ...rest] = part.split('-');
    const from = DAYS.indexOf(first);
    const to = DAYS.indexOf(last);
    if (from < 0 || to < 0 || rest.length > 0)
      throw usage(`--window: ${JSON.stringify(part)} names no days`, WINDOW_ADVICE);
    // fri-mon runs over the end of the week.
    for (let day = from; ; day = (day + 1) % 7) {
      days.add(day);
      if (day === to) break;
    }
  }
  return [...days].toSorted((a, b) => a - b);
}

function provisionText(view: ProvisionView): string {
  const windows = view.schedule.map(
    ({ days, from, to, instances }) =>
      `  ${days.map((day) => DAYS[day]).join(',')} ${from}-${to} UTC: ${instances}`,
  );
  const now =
    view.target === undefined
      ? 'the scheduler does not answer'
      : `now ${view.ready ?? 0} of ${view.target} ready`;
  return [`${view.alias} keeps ${view.instances} ready, ${now}`, ...windows].join('\n');
}
