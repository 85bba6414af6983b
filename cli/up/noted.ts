/** What the running platform keeps in its data folder itself: where it listens, and room for a bad day. */
import { rename, rm, writeFile } from 'node:fs/promises';
import type { PlatformFile } from '#shared/contracts/credentials.ts';
import { meansDiskFull } from '#shared/runtime/disk.node.ts';
import type { Layout } from '#shared/runtime/layout.node.ts';
import { takeBallast } from './ballast.ts';

export class Noted {
  readonly #layout: Layout;
  readonly #file: PlatformFile;
  #written = false;
  #removed = false;

  constructor(layout: Layout, file: PlatformFile) {
    this.#layout = layout;
    this.#file = file;
  }

  /** @returns false: the disk has no room even for the addresses, so that commands cannot find the platform. */
  async keep(): Promise<boolean> {
    const { platformFile, ballast, dataDir } = this.#layout;
    try {
      if (!this.#written && !this.#removed) await writePlatformFile(platformFile, this.#file);
      this.#written = true;
    } catch (thrown) {
      await rm(`${platformFile}.new`, { force: true });
      if (!meansDiskFull(thrown)) throw thrown;
      return false;
    }
    if (!this.#removed) await takeBallast(ballast, dataDir);
    return true;
  }

  async remove(): Promise<void> {
    this.#removed = true;
    await rm(this.#layout.platformFile, { force: true });
  }
}

async function writePlatformFile(path: string, content: PlatformFile): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(content, undefined, 2)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
