import { prepareZXingModule, writeBarcode } from 'zxing-wasm/writer';
// A compiled WebAssembly.Module: code cannot compile bytes at run time, so wasm comes in by import.
import zxingWriter from 'zxing-wasm/writer/zxing_writer.wasm';

prepareZXingModule({
  overrides: {
    instantiateWasm(imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance) => void) {
      void (async () => done(await WebAssembly.instantiate(zxingWriter, imports)))();
      return {};
    },
  },
});

const TEXT_MAX = 1_000;

/** `/?text=…` answers a QR code as SVG. */
export default {
  async fetch(request: Request): Promise<Response> {
    const text = new URL(request.url).searchParams.get('text') ?? '';
    if (text === '' || text.length > TEXT_MAX)
      return new Response(`Give ?text= of 1 to ${TEXT_MAX} characters.\n`, { status: 400 });
    const { svg, error } = await writeBarcode(text, { format: 'QRCode', scale: 4 });
    if (error !== '') return new Response(`${error}\n`, { status: 422 });
    return new Response(svg, { headers: { 'content-type': 'image/svg+xml' } });
  },
};
