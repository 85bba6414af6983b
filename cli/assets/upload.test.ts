/** Uploads of files: those that are missing, in parts of which several are under way, and how far it is. */
import { describe, test } from 'vitest';
import { assetsConfigSchema } from '#shared/contracts/assets.ts';
import { connect } from '../client/connection.ts';
import { ControlApi } from '../client/api.ts';
import { fakeControl } from '../testing/fake-control.ts';
import { tempProject } from '../testing/temp-project.ts';
import { collectAssets } from './collect.ts';
import { uploadAssets } from './upload.ts';

const COUNT = 450;

describe('many small files', () => {
  test('go up in parts, each file once, and it is told how many are there', async ({ expect }) => {
    await using folder = await tempProject(
      Object.fromEntries(Array.from({ length: COUNT }, (_, index) => [`${index}.txt`, `file ${index}`])),
    );
    const collected = await collectAssets(folder.path, assetsConfigSchema.parse({}));
    const [held] = collected.files;
    const parts: number[] = [];
    const names = new Set<string>();
    await using control = await fakeControl(({ url, body }) => {
      if (url.endsWith('/assets/missing')) {
        const { files } = JSON.parse(body) as { files: { digest: string }[] };
        return {
          body: { missing: files.map(({ digest }) => digest).filter((each) => each !== held?.digest) },
        };
      }
      const found = [...body.matchAll(/name="asset:([0-9a-f]{64})"/g)].map(([, digest]) => digest ?? '');
      parts.push(found.length);
      for (const name of found) names.add(name);
      return { status: 204 };
    });
    const api = new ControlApi(await connect({ data: control.dataDir }));
    const told: string[] = [];
    const sent = await uploadAssets(api, 'site', collected, (files, of) => told.push(`${files}/${of}`));
    expect(sent.files).toBe(COUNT - 1);
    expect(parts.toSorted((left, right) => left - right)).toEqual([49, 200, 200]);
    expect(names.size).toBe(COUNT - 1);
    expect(told.at(-1)).toBe(`${COUNT - 1}/${COUNT - 1}`);
    expect(told).toHaveLength(3);
  });
});
