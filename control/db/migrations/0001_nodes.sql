ALTER TABLE alias ADD COLUMN provision TEXT;
--> statement-breakpoint
ALTER TABLE account ADD COLUMN ceilings TEXT;
--> statement-breakpoint
-- JSON of [{binding, namespaceId}]: names are resolved when the version is published.
ALTER TABLE version ADD COLUMN kv TEXT NOT NULL DEFAULT '[]';
--> statement-breakpoint
CREATE TABLE secret (
  account TEXT NOT NULL REFERENCES account(name),
  name TEXT NOT NULL,
  sealed TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  PRIMARY KEY (account, name)
);
--> statement-breakpoint
CREATE TABLE kv_namespace (
  id TEXT PRIMARY KEY NOT NULL,
  account TEXT NOT NULL REFERENCES account(name),
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  UNIQUE (account, name)
);
--> statement-breakpoint
-- One row per function and hour (ms since the epoch, rounded down). Outlives the function.
CREATE TABLE usage (
  account TEXT NOT NULL,
  function TEXT NOT NULL,
  hour INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  errors INTEGER NOT NULL,
  cpu_ms REAL NOT NULL,
  memory_mb_ms REAL NOT NULL,
  request_bytes INTEGER NOT NULL,
  response_bytes INTEGER NOT NULL,
  egress_requests INTEGER NOT NULL,
  egress_bytes INTEGER NOT NULL,
  PRIMARY KEY (account, function, hour)
);
--> statement-breakpoint
CREATE INDEX usage_by_hour ON usage (hour);
--> statement-breakpoint
-- Last report applied of each run of a plane, so that a repeated one changes nothing.
CREATE TABLE usage_source (
  source TEXT PRIMARY KEY NOT NULL,
  sequence INTEGER NOT NULL,
  at INTEGER NOT NULL
);
