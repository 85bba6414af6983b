/** The gateway verified the token before this code ran, and hands over its claims. */
export default {
  fetch(request: Request): Response {
    const encoded = request.headers.get('isoplane-claims') ?? '';
    const bytes = Uint8Array.from(atob(encoded.replaceAll('-', '+').replaceAll('_', '/')), (character) =>
      character.charCodeAt(0),
    );
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return Response.json({ principal: request.headers.get('isoplane-principal'), claims });
  },
};
