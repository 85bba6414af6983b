/** A project folder with the given files. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';

export async function tempProject(files: Readonly<Record<string, string | Uint8Array>>): Promise<TempFolder> {
  const folder = await tempFolder();
  for (const [file, content] of Object.entries(files)) {
    const path = join(folder.path, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  return folder;
}
