-- JSON lists; NULL: every function of the account, any host.
ALTER TABLE secret ADD COLUMN functions TEXT;
--> statement-breakpoint
ALTER TABLE secret ADD COLUMN hosts TEXT;
--> statement-breakpoint
ALTER TABLE kv_namespace ADD COLUMN functions TEXT;
--> statement-breakpoint
-- Values of env of one function. They may be set before its first version is published.
CREATE TABLE function_secret (
  account TEXT NOT NULL REFERENCES account(name),
  function TEXT NOT NULL,
  name TEXT NOT NULL,
  sealed TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  PRIMARY KEY (account, function, name)
);
