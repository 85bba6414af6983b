/** Missing in the public workerd: without it `import 'cloudflare:email'` ends the start. Nothing here sends mail. */
class EmailMessage {
  readonly from: string;
  readonly to: string;
  readonly raw: unknown;

  constructor(from: string, to: string, raw: unknown) {
    this.from = from;
    this.to = to;
    this.raw = raw;
  }
}

export { EmailMessage };
export default { EmailMessage };
