/**
 * Cookies for a domain that several tenants share would let one of them set what the others receive, and receive what
 * they set. A function may set cookies for a domain only where no other account has a host at or below it, also when
 * that domain is its own host: `example.com` of one account lies above `shop.example.com` of another. Pure.
 */

/** `Domain=`, wherever it stands: most cookies have none, and stay as they are. */
const HAS_DOMAIN = /domain\s*=/i;

/**
 * A Set-Cookie value without the Domain attributes that reach too far: the cookie is then the host's own.
 * The function chose the value, and everybody's requests wait meanwhile: linear in its length.
 *
 * @param host - without port, lower case.
 * @param owns - true when the account alone, and nothing of the platform, has hosts at or below a domain.
 */
export function confineCookie(value: string, host: string, owns: (domain: string) => boolean): string {
  if (!HAS_DOMAIN.test(value)) return value;
  const [pair = '', ...attributes] = value.split(';');
  const kept = attributes.filter((attribute) => {
    const domain = domainOf(attribute);
    if (domain === undefined) return true;
    return (domain === host || host.endsWith(`.${domain}`)) && owns(domain);
  });
  return [pair, ...kept].join(';');
}

/** Lower case and without its leading dot; undefined when this is another attribute. */
function domainOf(attribute: string): string | undefined {
  const equals = attribute.indexOf('=');
  if (equals < 0 || attribute.slice(0, equals).trim().toLowerCase() !== 'domain') return undefined;
  const given = attribute
    .slice(equals + 1)
    .trim()
    .toLowerCase();
  return given.startsWith('.') ? given.slice(1) : given;
}
