/** One entry of `problems` in a document: what is wrong, and where in what was sent. */
export interface FieldProblem {
  readonly path: string;
  readonly message: string;
}
