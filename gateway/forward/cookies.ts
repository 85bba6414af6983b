/**
 * Cookies for a domain that several tenants share would let one of them set what the others receive, and receive what
 * they set. A function may set cookies for a domain only where no other account has a host at or below it, also when
 * that domain is its own host: `example.com` of one account lies above `shop.example.com` of another. Pure.
 */

/**
 * A Set-Cookie value without the Domain attributes that reach too far: the cookie is then the host's own.
 *
 * @param host - without port, lower case.
 * @param owns - true when the account alone, and nothing of the platform, has hosts at or below a domain.
 */
export function confineCookie(value: string, host: string, owns: (domain: string) => boolean): string {
  if (!/;\s*domain\s*=/i.test(value)) return value;
  const [pair = '', ...attributes] = value.split(';');
  const kept = attributes.filter((attribute) => {
    const [, given] = /^\s*domain\s*=\s*(.*?)\s*$/i.exec(attribute) ?? [];
    if (given === undefined) return true;
    const domain = given.toLowerCase().replace(/^\./, '');
    return (domain === host || host.endsWith(`.${domain}`)) && owns(domain);
  });
  return [pair, ...kept].join(';');
}
