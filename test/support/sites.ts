/** Folders of static files: deployed by the command, and read through a gateway byte by byte. */
import { request } from 'undici';
import { z } from 'zod';
import type { TempFolder } from '#shared/testing/temp.node.ts';
import { hostOf, type TestPlatform } from './platform.ts';

const PUBLIC = { auth: { mode: 'public' } };
export const siteConfig = (name: string, extra: object): string =>
  JSON.stringify({ name, compatibilityDate: '2026-11-01', ...PUBLIC, ...extra });

export interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Buffer;
  readonly text: string;
}

export type FileAsked = [
  name: string,
  path: string,
  headers?: Readonly<Record<string, string>>,
  method?: 'GET' | 'HEAD' | 'POST',
];

export async function getFile(
  platform: TestPlatform,
  ...[name, path, headers = {}, method = 'GET']: FileAsked
): Promise<Got> {
  const answer = await request(`${platform.gatewayUrl}${path}`, {
    method,
    headers: { ...headers, host: hostOf(platform.gatewayUrl, name) },
  });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  return { status: answer.statusCode, headers: answer.headers, bytes, text: bytes.toString() };
}

const deployedSchema = z.object({
  version: z.number(),
  assets: z.object({ files: z.number(), uploaded: z.object({ files: z.number(), bytes: z.number() }) }),
});

export async function deploySite(
  platform: TestPlatform,
  folder: TempFolder,
): Promise<z.infer<typeof deployedSchema>> {
  const result = await platform.cli(['--json', 'deploy', folder.path]);
  if (result.code !== 0)
    throw new Error(`deploy ended with ${result.code}\n${result.stdout}${result.stderr}`);
  return deployedSchema.parse(result.json());
}
