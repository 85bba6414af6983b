/** A readable page of the OpenAPI document: no script, no style from elsewhere. */
function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

const STYLE = `
  :root { color-scheme: light dark }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  code, pre { font: 13px/1.5 ui-monospace, monospace }
  pre { overflow: auto; max-height: 30rem; max-width: 100%; box-sizing: border-box; padding: 1rem; border: 1px solid #8885; border-radius: 6px }
  details { border-top: 1px solid #8885; padding: .5rem 0 }
  summary { cursor: pointer; overflow-wrap: anywhere }
  p { overflow-wrap: anywhere }
  .method { display: inline-block; min-width: 4rem; font-weight: 700; text-transform: uppercase }
`;

interface Described {
  readonly operationId?: string;
  readonly summary?: string;
}

export function documentPage(document: Readonly<Record<string, unknown>>): string {
  const paths = (document['paths'] ?? {}) as Record<string, Record<string, Described>>;
  const entries = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(
      ([method, operation]) => `<details id="${escape(operation.operationId ?? '')}">
<summary><code><span class="method">${escape(method)}</span> ${escape(path)}</code></summary>
<p>${escape(operation.summary ?? '')}</p>
<pre>${escape(JSON.stringify(operation, null, 2))}</pre>
</details>`,
    ),
  );
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Isoplane control API</title><style>${STYLE}</style></head>
<body>
<h1>Isoplane control API</h1>
<p>Every call is signed (RFC 9421) or carries a bearer token. Failures are problem documents (RFC 9457) with a
stable <code>code</code>. The machine-readable form is <a href="/openapi.json">openapi.json</a>.</p>
${entries.join('\n')}
</body>
</html>
`;
}
