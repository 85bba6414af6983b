/** What every command gets: the global options, the output, and the platform when it needs one. */
import { connect, type Connection } from './client/connection.ts';
import { ControlApi } from './client/api.ts';
import { createOutput, type Output } from './output.ts';

export interface GlobalOptions {
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly data?: string;
  readonly profile?: string;
  readonly account?: string;
}

export class Context {
  readonly output: Output;
  readonly options: GlobalOptions;

  constructor(options: GlobalOptions) {
    this.options = options;
    this.output = createOutput({ json: options.json ?? false, verbose: options.verbose ?? false });
  }

  async platform(): Promise<{ readonly connection: Connection; readonly api: ControlApi }> {
    const connection = await connect(this.options);
    return { connection, api: new ControlApi(connection) };
  }
}
