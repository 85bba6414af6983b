CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);
--> statement-breakpoint
CREATE TABLE account (
  name TEXT PRIMARY KEY NOT NULL,
  issuer TEXT,
  created_at INTEGER NOT NULL
);
--> statement-breakpoint
CREATE TABLE function (
  account TEXT NOT NULL REFERENCES account(name),
  name TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (account, name)
);
--> statement-breakpoint
-- Survives what it counts: a number is never used again, not even after deletion.
CREATE TABLE counter (
  kind TEXT NOT NULL,
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (kind, account, name)
);
--> statement-breakpoint
CREATE TABLE version (
  account TEXT NOT NULL,
  function TEXT NOT NULL,
  number INTEGER NOT NULL,
  digest TEXT NOT NULL,
  main TEXT NOT NULL,
  modules TEXT NOT NULL,
  maps TEXT NOT NULL,
  config TEXT NOT NULL,
  message TEXT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  PRIMARY KEY (account, function, number),
  FOREIGN KEY (account, function) REFERENCES function(account, name)
);
--> statement-breakpoint
CREATE UNIQUE INDEX version_by_digest ON version (account, function, digest);
--> statement-breakpoint
CREATE TABLE alias (
  account TEXT NOT NULL,
  function TEXT NOT NULL,
  name TEXT NOT NULL,
  weights TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (account, function, name),
  FOREIGN KEY (account, function) REFERENCES function(account, name)
);
--> statement-breakpoint
CREATE TABLE deployment (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  account TEXT NOT NULL,
  function TEXT NOT NULL,
  alias TEXT NOT NULL,
  weights TEXT NOT NULL,
  previous TEXT,
  reason TEXT NOT NULL,
  message TEXT,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
);
--> statement-breakpoint
CREATE INDEX deployment_by_alias ON deployment (account, function, alias, id);
--> statement-breakpoint
CREATE TABLE layer_version (
  account TEXT NOT NULL REFERENCES account(name),
  layer TEXT NOT NULL,
  number INTEGER NOT NULL,
  digest TEXT NOT NULL,
  modules TEXT NOT NULL,
  message TEXT,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  PRIMARY KEY (account, layer, number)
);
--> statement-breakpoint
CREATE UNIQUE INDEX layer_version_by_digest ON layer_version (account, layer, digest);
--> statement-breakpoint
CREATE TABLE route (
  id TEXT PRIMARY KEY NOT NULL,
  account TEXT NOT NULL,
  host TEXT NOT NULL,
  path TEXT NOT NULL,
  function TEXT NOT NULL,
  alias TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  FOREIGN KEY (account, function) REFERENCES function(account, name)
);
--> statement-breakpoint
CREATE UNIQUE INDEX route_by_pattern ON route (host, path);
--> statement-breakpoint
CREATE TABLE key (
  id TEXT PRIMARY KEY NOT NULL,
  account TEXT NOT NULL REFERENCES account(name),
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  -- ed25519: raw public key, base64url. hmac-sha256: sealed secret. token: sha-256 of the token, hexadecimal.
  material TEXT NOT NULL,
  functions TEXT,
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
);
--> statement-breakpoint
CREATE INDEX key_by_account ON key (account, id);
--> statement-breakpoint
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  account TEXT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  detail TEXT
);
--> statement-breakpoint
CREATE TABLE change (
  revision INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  at INTEGER NOT NULL
);
