/** A body that was here before anybody asked for it. */
import type { BodySink, RequestBody } from './ports.ts';

export class WholeBody implements RequestBody {
  readonly whole: Buffer;

  constructor(whole: Buffer) {
    this.whole = whole;
  }

  flow(sink: BodySink): void {
    sink.chunk(this.whole);
    sink.end();
  }

  resume(): void {}

  credit(): void {}

  stop(): void {}
}
