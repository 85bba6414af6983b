/** `isoplane dev`: the functions of a workspace on the real platform, published again on every save. */
import { resolve } from 'node:path';
import process from 'node:process';
import { z } from 'zod';
import type { Context } from '../context.ts';
import { runDev } from '../dev/run.ts';
import { AUTH_MODES } from '../dev/planes/settings.ts';
import { usage } from './arguments.ts';

const optionsSchema = z.object({
  env: z.string().optional(),
  host: z.string(),
  port: z.number(),
  auth: z.enum(AUTH_MODES),
  claims: z.string().optional(),
  inspect: z.union([z.boolean(), z.number()]).default(false),
  layer: z.array(z.string()).default([]),
  sandbox: z.enum(['auto', 'off']),
});

const INSPECTOR_PORT = 9229;

export function dev(
  context: Context,
  args: readonly string[],
  given: Record<string, unknown>,
): Promise<number> {
  const { env: environment, host, port, auth, claims, inspect, layer, sandbox } = optionsSchema.parse(given);
  return runDev(context, {
    projects: args,
    environment,
    host,
    port,
    auth,
    claims: claims === undefined ? {} : parseClaims(claims),
    inspectPort: inspect === false ? undefined : inspect === true ? INSPECTOR_PORT : inspect,
    layers: new Map(layer.map(parseLayer)),
    sandbox,
  });
}

function parseClaims(text: string): Record<string, z.core.util.JSONType> {
  try {
    return z.record(z.string(), z.json()).parse(JSON.parse(text));
  } catch {
    throw usage(`--claims: ${JSON.stringify(text)} is no JSON object`, 'Write it like \'{"sub":"ada"}\'.');
  }
}

export function parseLayer(text: string): readonly [string, string] {
  const [, name, folder] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || folder === undefined)
    throw usage(`--layer: ${JSON.stringify(text)} cannot be read`, 'Write it like greet=./layers/greet.');
  return [name, resolve(process.cwd(), folder)];
}
