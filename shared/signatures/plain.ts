/**
 * Reads the headers of a signature in the form that signers write: one label, components without parameters,
 * the parameters of RFC 9421 each at most once, nothing that could be written another way. Pure.
 *
 * A general parser of structured fields costs as much as the rest of a signed request. Nothing is refused here:
 * whatever is not of this form goes to that parser (verify.ts), so this grammar may only be narrower than its own:
 * plain.fuzz.test.ts holds the two against each other.
 */
import type { BareItem, InnerList, Parameters } from 'structured-headers';

export interface PlainInput {
  readonly label: string;
  readonly covered: InnerList;
  /** `covered` as it was sent, which is how it would be serialised. */
  readonly text: string;
}

const NO_PARAMETERS: Parameters = new Map();
const COVERED = /^([a-z*][a-z0-9_.*-]*)=(\(("[a-z0-9@-]+"(?: "[a-z0-9@-]+")*)\).*)$/;
/** Integers and strings without escapes, as RFC 9651 serialises them. */
const PARAMETER = /;(created|expires|nonce|keyid|alg)=(?:(0|[1-9][0-9]{0,14})|"([ !#-[\]-~]*)")/y;
const SIGNATURE =
  /^([a-z*][a-z0-9_.*-]*)=:((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?):$/;

/** @returns undefined for whatever is not plain. */
export function readPlainInput(header: string): PlainInput | undefined {
  const [, label, text, names] = COVERED.exec(header) ?? [];
  if (label === undefined || text === undefined || names === undefined) return undefined;
  const parameters = new Map<string, BareItem>();
  let at = names.length + 2;
  while (at < text.length) {
    PARAMETER.lastIndex = at;
    const [whole, name, integer, string] = PARAMETER.exec(text) ?? [];
    // Of two the last would count, and stand in the place of the first.
    if (whole === undefined || name === undefined || parameters.has(name)) return undefined;
    parameters.set(name, integer === undefined ? (string ?? '') : Number(integer));
    at += whole.length;
  }
  const items = names.slice(1, -1).split('" "');
  return { label, covered: [items.map((name) => [name, NO_PARAMETERS]), parameters], text };
}

/** @returns undefined for whatever is not plain, and when the label is another. */
export function readPlainSignature(header: string, label: string): Uint8Array<ArrayBuffer> | undefined {
  const [, given, base64] = SIGNATURE.exec(header) ?? [];
  if (given !== label || base64 === undefined) return undefined;
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
  return bytes;
}
