-- Files that an account has uploaded, by digest. Their bytes lie in its folder of the asset store.
CREATE TABLE asset (
  account TEXT NOT NULL REFERENCES account(name),
  digest TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  uploaded_at INTEGER NOT NULL,
  PRIMARY KEY (account, digest)
);
--> statement-breakpoint
-- JSON of {manifest, manifestBytes, files, bytes}; null: the version serves code alone.
ALTER TABLE version ADD COLUMN assets TEXT;
