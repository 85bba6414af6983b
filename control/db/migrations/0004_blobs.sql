-- Bytes of every blob of code that a version or layer version names, and how often each account's name it. Kept by
-- triggers, so that whatever adds or removes versions counts. Sizes of source maps stand nowhere in older rows: control
-- looks them up on its disk when it starts.
CREATE TABLE blob (
  digest TEXT PRIMARY KEY NOT NULL,
  bytes INTEGER NOT NULL
);
--> statement-breakpoint
CREATE TABLE blob_use (
  account TEXT NOT NULL,
  digest TEXT NOT NULL,
  uses INTEGER NOT NULL,
  PRIMARY KEY (account, digest)
);
--> statement-breakpoint
CREATE INDEX blob_use_digest ON blob_use (digest);
--> statement-breakpoint
INSERT INTO blob_use (account, digest, uses)
SELECT account, digest, count(*) FROM (
  SELECT v.account, json_extract(m.value, '$.digest') AS digest FROM version AS v, json_each(v.modules) AS m
  UNION ALL
  SELECT v.account, m.value FROM version AS v, json_each(v.maps) AS m
  UNION ALL
  SELECT l.account, json_extract(m.value, '$.digest') FROM layer_version AS l, json_each(l.modules) AS m
) GROUP BY account, digest;
--> statement-breakpoint
INSERT OR IGNORE INTO blob (digest, bytes)
SELECT json_extract(m.value, '$.digest'), json_extract(m.value, '$.bytes') FROM version AS v, json_each(v.modules) AS m;
--> statement-breakpoint
INSERT OR IGNORE INTO blob (digest, bytes)
SELECT json_extract(m.value, '$.digest'), json_extract(m.value, '$.bytes')
FROM layer_version AS l, json_each(l.modules) AS m;
--> statement-breakpoint
CREATE TRIGGER version_blobs_added AFTER INSERT ON version BEGIN
  INSERT INTO blob_use (account, digest, uses)
    SELECT NEW.account, digest, count(*) FROM (
      SELECT json_extract(m.value, '$.digest') AS digest FROM json_each(NEW.modules) AS m
      UNION ALL SELECT m.value FROM json_each(NEW.maps) AS m
    ) WHERE true GROUP BY digest
    ON CONFLICT (account, digest) DO UPDATE SET uses = uses + excluded.uses;
END;
--> statement-breakpoint
CREATE TRIGGER layer_blobs_added AFTER INSERT ON layer_version BEGIN
  INSERT INTO blob_use (account, digest, uses)
    SELECT NEW.account, json_extract(m.value, '$.digest') AS digest, count(*) FROM json_each(NEW.modules) AS m
    WHERE true GROUP BY digest
    ON CONFLICT (account, digest) DO UPDATE SET uses = uses + excluded.uses;
END;
--> statement-breakpoint
CREATE TRIGGER version_blobs_removed AFTER DELETE ON version BEGIN
  UPDATE blob_use SET uses = uses
      - (SELECT count(*) FROM json_each(OLD.modules) AS m WHERE json_extract(m.value, '$.digest') = blob_use.digest)
      - (SELECT count(*) FROM json_each(OLD.maps) AS m WHERE m.value = blob_use.digest)
    WHERE account = OLD.account AND digest IN (
      SELECT json_extract(m.value, '$.digest') FROM json_each(OLD.modules) AS m
      UNION SELECT m.value FROM json_each(OLD.maps) AS m);
END;
--> statement-breakpoint
CREATE TRIGGER layer_blobs_removed AFTER DELETE ON layer_version BEGIN
  UPDATE blob_use SET uses = uses
      - (SELECT count(*) FROM json_each(OLD.modules) AS m WHERE json_extract(m.value, '$.digest') = blob_use.digest)
    WHERE account = OLD.account AND digest IN (
      SELECT json_extract(m.value, '$.digest') FROM json_each(OLD.modules) AS m);
END;
--> statement-breakpoint
CREATE TRIGGER blob_unused AFTER UPDATE OF uses ON blob_use WHEN NEW.uses <= 0 BEGIN
  DELETE FROM blob_use WHERE account = NEW.account AND digest = NEW.digest;
  DELETE FROM blob WHERE digest = NEW.digest
    AND NOT EXISTS (SELECT 1 FROM blob_use WHERE digest = NEW.digest);
END;
