"""The tables of the SQLite journal, and how a connection to it is opened.

WAL with synchronous=FULL: a commit has reached the disk when it returns. Every query on the
way of an event goes through one of the indexes here, so that its cost does not grow with the
tree; partial indexes keep the finished millions out of the ones that are read all the time.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from syncd.barrier import sync_folder
from syncd.errors import JournalUnavailable

VERSION = 3

_TABLES = """
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
  read INTEGER NOT NULL DEFAULT 0,
  replayed_at REAL,                       -- when an operator last had it read anew
  ask_at REAL,                            -- when the platform is next to be asked what it announces, until it has said
  asked INTEGER NOT NULL DEFAULT 0        -- how often it was, in vain
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
  type TEXT, bytes INTEGER, sha256 TEXT, source_url TEXT, published_at REAL,
  lost_at REAL,                           -- when its published file was found missing or damaged, until it is back
  design TEXT NOT NULL DEFAULT '',        -- the template whose status decides if it may be visible; '': none does
  held INTEGER NOT NULL DEFAULT 0         -- 1: its file lies in the held folder; 2: still in the tree, on its way there
);
CREATE INDEX assets_due ON assets(lane, next_at, asset) WHERE state = 'pending';
CREATE INDEX assets_state ON assets(state);
CREATE INDEX assets_placing ON assets(asset) WHERE placing IS NOT NULL;
CREATE INDEX assets_visual ON assets(visual);
CREATE INDEX assets_platform ON assets(platform_id);
CREATE INDEX assets_folder ON assets(folder, key) WHERE folder IS NOT NULL;
CREATE INDEX assets_ended ON assets(received_at) WHERE state IN ('superseded', 'failed') AND folder IS NULL;
CREATE INDEX assets_lost ON assets(asset) WHERE lost_at IS NOT NULL;
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
CREATE INDEX folders_emptied ON folders(folder) WHERE assets = 0 AND written > 0;
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
CREATE TABLE removals(
  key TEXT PRIMARY KEY, folder TEXT NOT NULL, change INTEGER NOT NULL,
  asset INTEGER                           -- whose file is held from then on; NULL: it goes for good
) WITHOUT ROWID;

CREATE TABLE templates(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL DEFAULT '', status_updated_at REAL
) WITHOUT ROWID;
"""

# For those who look: a status page asks every few seconds, and a million rows take a fifth of one to count.
_COUNTS = """
CREATE TABLE counts(state TEXT PRIMARY KEY, assets INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counts SELECT state, count(*) FROM assets GROUP BY state;
CREATE TRIGGER assets_added AFTER INSERT ON assets BEGIN
  INSERT INTO counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET assets = assets + 1;
END;
CREATE TRIGGER assets_moved AFTER UPDATE OF state ON assets WHEN new.state != old.state BEGIN
  UPDATE counts SET assets = assets - 1 WHERE state = old.state;
  INSERT INTO counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET assets = assets + 1;
END;
CREATE TRIGGER assets_forgotten AFTER DELETE ON assets BEGIN
  UPDATE counts SET assets = assets - 1 WHERE state = old.state;
END;
CREATE INDEX deliveries_outcome ON deliveries(outcome);
CREATE INDEX deliveries_source ON deliveries(source);
"""

# What happened and was wanted, how far each target in the config has been told, and what it was or is to be told.
_OUTBOX = """
CREATE TABLE happenings(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, event TEXT NOT NULL, subject TEXT NOT NULL,
  detail TEXT NOT NULL                    -- facts as JSON
);
CREATE TABLE batches(                     -- those of which the end is to be told, by the delivery's number
  seq INTEGER PRIMARY KEY, batch TEXT NOT NULL, errors TEXT NOT NULL
);
CREATE TABLE listeners(listener TEXT PRIMARY KEY, told INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE messages(
  number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which a target is told
  id TEXT NOT NULL UNIQUE,
  listener TEXT NOT NULL,
  kind TEXT NOT NULL, target TEXT NOT NULL,  -- as people see it: no secret
  events INTEGER NOT NULL,
  title TEXT NOT NULL, body TEXT NOT NULL,
  made_at REAL NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at REAL NOT NULL,
  give_up_at REAL NOT NULL,
  reason TEXT NOT NULL DEFAULT '',
  ended_at REAL
);
CREATE INDEX messages_pending ON messages(listener, number) WHERE state = 'pending';
CREATE INDEX messages_failed ON messages(number) WHERE state = 'failed';
CREATE INDEX messages_age ON messages(made_at);
"""

# The gates: which files may not be visible yet, and which are to be held against the gates again.
_GATES = """
CREATE TABLE reviews(design TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE whole(seq INTEGER PRIMARY KEY);  -- deliveries whose assets become visible as a whole, until they have
CREATE INDEX assets_held ON assets(design) WHERE state = 'held';
CREATE INDEX assets_shown ON assets(design) WHERE folder IS NOT NULL;
CREATE INDEX assets_leaving ON assets(asset) WHERE held = 1 AND state != 'held';
CREATE INDEX removals_held ON removals(asset) WHERE asset IS NOT NULL;
"""

# Deliveries of which only the platform's API knows what they announce.
_QUESTIONS = "CREATE INDEX deliveries_questions ON deliveries(ask_at) WHERE ask_at IS NOT NULL;"

_HELD = """
ALTER TABLE assets ADD COLUMN design TEXT NOT NULL DEFAULT '';
ALTER TABLE assets ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE removals ADD COLUMN asset INTEGER;
UPDATE assets SET design = coalesce(json_extract(detail, '$.template.id'), '') WHERE lane = 'visuals';
"""

_UPGRADES = {
    1: "ALTER TABLE deliveries ADD COLUMN replayed_at REAL; ALTER TABLE assets ADD COLUMN lost_at REAL;"
    "CREATE INDEX assets_lost ON assets(asset) WHERE lost_at IS NOT NULL;"
    "CREATE INDEX folders_emptied ON folders(folder) WHERE assets = 0 AND written > 0;" + _COUNTS,
    2: "ALTER TABLE deliveries ADD COLUMN ask_at REAL;"
    "ALTER TABLE deliveries ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;" + _QUESTIONS + _OUTBOX + _HELD + _GATES,
}
"""What makes the next format of each older one."""


def exists(path: Path) -> None:
    """Raise JournalUnavailable where there is no journal at `path` yet."""
    try:
        there = path.exists()
    except OSError as error:  # in a folder that only the daemon may enter, say
        raise JournalUnavailable(f"the journal {path} can't be looked at: {error.strerror}") from error
    if not there:
        raise JournalUnavailable(f"there is no journal at {path} yet", hint="`syncd run` makes it")


def connect(path: Path, to: Literal["make", "write", "read"]) -> sqlite3.Connection:
    """Open the database to read it, to write it, or to write it and make it where there is none.

    Raises JournalUnavailable where it can't be opened, is no journal, or is from a newer syncd.
    """
    try:
        mode = "rwc" if to == "make" else "rw"
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            _prepare(db, path, to)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise JournalUnavailable(f"the journal {path} can't be opened: {error}") from error
    return db


def _prepare(db: sqlite3.Connection, path: Path, to: str) -> None:
    db.row_factory = sqlite3.Row
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise JournalUnavailable(
            f"the journal {path} was written by a newer syncd (format {found}, this one knows {VERSION})",
            hint="install the newer syncd again",
        )
    if to != "make" and found == 0:
        raise JournalUnavailable(f"{path} is not a journal of syncd")
    if to != "make" and found < VERSION:
        raise JournalUnavailable(
            f"the journal {path} was written by an older syncd", hint="start the daemon, which brings it up to date"
        )
    if to == "read":
        db.execute("PRAGMA query_only=ON")
        return
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA cache_size=-512")  # KiB: no burst is faster with eight times as much, and idle memory counts
    if 0 < found < VERSION:
        steps = "".join(_UPGRADES[version] for version in range(found, VERSION))
        db.executescript(f"BEGIN;{steps}PRAGMA user_version={VERSION};COMMIT;")
    if found == 0:
        if db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise JournalUnavailable(f"{path} is a database of another program", hint="give journal.url another file")
        db.executescript(f"BEGIN;{_TABLES}{_COUNTS}{_QUESTIONS}{_OUTBOX}{_GATES}PRAGMA user_version={VERSION};COMMIT;")
        # SQLite syncs the file, not the name of it: without this a power cut could lose both.
        sync_folder(path.parent)
