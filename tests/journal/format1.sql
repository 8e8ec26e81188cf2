-- The tables of a journal as the first format had them.
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE deliveries(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: it ranks versions without a number
  id TEXT NOT NULL UNIQUE,
  source TEXT NOT NULL,
  signed BLOB UNIQUE,                     -- SHA-256 of what was signed: time and body
  body_sha256 BLOB NOT NULL,
  hint TEXT,
  headers TEXT NOT NULL,
  body BLOB NOT NULL,
  received_at REAL NOT NULL,
  event TEXT NOT NULL DEFAULT '',
  outcome TEXT NOT NULL DEFAULT 'accepted',
  reason TEXT NOT NULL DEFAULT '',
  read INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX deliveries_inbox ON deliveries(seq) WHERE read = 0;
CREATE INDEX deliveries_body ON deliveries(body_sha256, received_at);
CREATE INDEX deliveries_age ON deliveries(received_at);

CREATE TABLE visuals(visual INTEGER PRIMARY KEY, key TEXT);  -- the key that its versions share
CREATE TABLE identities(identity TEXT PRIMARY KEY, visual INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX identities_visual ON identities(visual);

-- Folder names, each given once: a template keeps its folder when it is renamed.
CREATE TABLE names(
  scope TEXT NOT NULL, folded TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL,
  PRIMARY KEY(scope, folded)
) WITHOUT ROWID;
CREATE UNIQUE INDEX names_owner ON names(scope, owner);

-- Every path a file was ever promised, in the form in which names compare.
CREATE TABLE keys(folded TEXT PRIMARY KEY, visual INTEGER NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX keys_visual ON keys(visual);

CREATE TABLE assets(
  asset INTEGER PRIMARY KEY,
  visual INTEGER NOT NULL,
  lane TEXT NOT NULL,
  source TEXT NOT NULL,
  platform_id TEXT NOT NULL,
  version INTEGER,
  seq INTEGER NOT NULL,                   -- of the delivery that announced it
  delivery TEXT NOT NULL,
  detail TEXT NOT NULL,                   -- the Asset as JSON
  received_at REAL NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  key TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  goes INTEGER NOT NULL DEFAULT 0,
  next_at REAL NOT NULL,
  give_up_at REAL NOT NULL,
  failing_since REAL,
  placing TEXT,                           -- where its file is about to move, while it does
  folder TEXT,                            -- whose manifest lists it; NULL: it has no file there
  type TEXT, bytes INTEGER, sha256 TEXT, source_url TEXT, published_at REAL
);
CREATE INDEX assets_due ON assets(lane, next_at, asset) WHERE state = 'pending';
CREATE INDEX assets_state ON assets(state);
CREATE INDEX assets_placing ON assets(asset) WHERE placing IS NOT NULL;
CREATE INDEX assets_visual ON assets(visual);
CREATE INDEX assets_platform ON assets(platform_id);
CREATE INDEX assets_folder ON assets(folder, key) WHERE folder IS NOT NULL;
CREATE INDEX assets_ended ON assets(received_at) WHERE state IN ('superseded', 'failed') AND folder IS NULL;
CREATE INDEX assets_failing ON assets(failing_since) WHERE failing_since IS NOT NULL;

CREATE TABLE announced(seq INTEGER NOT NULL, asset INTEGER NOT NULL, PRIMARY KEY(seq, asset)) WITHOUT ROWID;
CREATE INDEX announced_asset ON announced(asset);

-- A manifest is behind while `change` is ahead of `written`.
CREATE TABLE folders(
  folder TEXT PRIMARY KEY,
  change INTEGER NOT NULL DEFAULT 1,
  written INTEGER NOT NULL DEFAULT 0,
  template_id TEXT NOT NULL DEFAULT '', template_name TEXT NOT NULL DEFAULT '',
  format_id TEXT NOT NULL DEFAULT '',
  assets INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  sequence INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX folders_stale ON folders(folder) WHERE change > written;
CREATE INDEX folders_template ON folders(template_id);

CREATE TABLE exports(
  asset INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  files TEXT NOT NULL,                    -- [[path, bytes, sha256], ...]
  count INTEGER NOT NULL, total INTEGER NOT NULL,
  archive_key TEXT,
  written INTEGER NOT NULL DEFAULT 0,
  line TEXT                               -- as the index names it, once its manifest is on disk
);
CREATE INDEX exports_stale ON exports(asset) WHERE written = 0;

-- Files to remove, once the manifest that no longer names them is on disk.
CREATE TABLE removals(key TEXT PRIMARY KEY, folder TEXT NOT NULL, change INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE templates(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL DEFAULT '', status_updated_at REAL
) WITHOUT ROWID;
PRAGMA user_version=1;
