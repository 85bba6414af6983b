/** Thread of the assets bindings. */
import { LIMITS } from '#shared/limits.ts';
import { ASSET_DISK_BYTES_MAX, ASSET_MEMORY_BYTES_MAX, AssetLibrary } from '#shared/assets/library.node.ts';
import { peerOf } from '#shared/runtime/transport.node.ts';
import { runThread } from '../run-thread.ts';
import type { AssetsData, AssetsTarget } from './kind.ts';
import { assetServer } from './serve.ts';

await runThread<AssetsTarget>(async (data, log) => {
  const { folder, controlAddress } = data as AssetsData;
  const control = peerOf(controlAddress);
  const library = await AssetLibrary.open({
    folder,
    diskBytesMax: ASSET_DISK_BYTES_MAX,
    memoryBytesMax: ASSET_MEMORY_BYTES_MAX / 2,
    log,
    fetchBlob: (digest, account) =>
      control.bytes(`/internal/assets/${account}/${digest}`, LIMITS.assetBytesMax),
  });
  return {
    serve: ({ target }) => assetServer({ library, log }, target),
    close: () => control.close(),
  };
});
