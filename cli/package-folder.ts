/** Where the package that is running lies. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of package.json, docs and the JSON schema: above this file, which is compiled into dist/cli. */
export function packageFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error('the files of this command are incomplete: there is no package.json');
    folder = parent;
  }
  return folder;
}
