-- One list of what a version is bound to, whatever its kind, in place of a column for KV alone.
ALTER TABLE version RENAME COLUMN kv TO bindings;
--> statement-breakpoint
UPDATE version SET bindings = (
  SELECT json_group_array(json_object(
    'kind', 'kv',
    'name', json_extract(entry.value, '$.binding'),
    'id', json_extract(entry.value, '$.namespaceId'),
    'terms', json_object()
  )) FROM json_each(version.bindings) AS entry
) WHERE bindings <> '[]';
