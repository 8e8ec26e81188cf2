"""Promises 3 and 4 under any order of steps: true manifests, and newer wins."""

import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from journal.press import Press, banner, press_at, rules

from syncd.journal import Placement
from syncd.model import Template, TemplateStatus, held_key

LAYOUTS = ["{template}/{format}/{filename}", "{template}/{stem}.{hash}.{ext}", "{date}/{filename}", "v{version}/{id}"]


ASSETS = st.tuples(
    st.sampled_from([0, 0, 0, 1]),  # visual
    st.sampled_from("xxy"),  # which of its ids
    st.sampled_from([True, True, False]),  # with its sharing id
    st.sampled_from([1, 1, 1, 0, -1, None]),  # version, from the newest one
    st.sampled_from(["png", "jpeg"]),
)
DESIGNS = [Template("t1", "Spring sale"), Template("t2", "Autumn")]
WORDS = ["APPROVED", "APPROVED", "IN_REVIEW"]
APPROVED = frozenset({"APPROVED"})


class Mirror(RuleBasedStateMachine):
    """Reader, fetchers, publisher, manifests and sweeper, each a step at a time, and crashes between them."""

    @initialize(
        layout=st.sampled_from(LAYOUTS),
        keep_versions=st.integers(1, 2),
        approved=st.sampled_from([None, APPROVED, APPROVED]),
        whole=st.booleans(),
    )
    def open(self, layout, keep_versions, approved, whole):
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        gates = rules(layout, keep_versions, approved=approved, whole_batches=whole)
        gates = replace(gates, wanted=frozenset({"asset.*"}))
        self.opened = press_at(Path(self.folder.name) / "journal.db", gates)
        self.press: Press = self.run(self.opened.__aenter__())
        self.press.journal._db.execute("PRAGMA synchronous=OFF")  # no power is lost here
        self.meant = {}  # content → what was announced with it
        self.newest = [0, 0]
        self.moved = set()  # rows of what was placed whose files are there already
        self.seen = {}  # key → the content that is there
        self.in_hand, self.placed, self.written, self.lost = [], [], None, False

    def run(self, work):
        return self.runner.run(work)

    def teardown(self):
        if not hasattr(self, "press"):
            return
        try:
            self.crash()
            self.finish_everything()
        finally:
            self.run(self.opened.__aexit__(None, None, None))
            self.runner.close()
            self.folder.cleanup()

    @rule(assets=st.lists(ASSETS, min_size=1, max_size=3), batch=st.booleans())
    def announce(self, assets, batch):
        announced = []
        for number, (visual, part, shared, age, kind) in enumerate(assets):
            newest = self.newest[visual]
            version = None if age is None else max(newest + age, 0)
            self.newest[visual] = max(newest, version or 0)
            url = f"https://host.test/{visual}/{self.press._deliveries + (0 if batch else number)}"
            sharing_id = f"s{visual}" if shared else ""
            named = {"type": kind, "filename": f"a.{kind}", "url": url, "template": DESIGNS[part == "y"]}
            announced.append(banner(f"{visual}{part}", sharing_id, version, **named))
        for together in [announced] if batch else [[asset] for asset in announced]:
            self.run(self.press.announce(*together, batch="g" if batch else ""))

    @rule(word=st.sampled_from(WORDS), design=st.sampled_from(DESIGNS))
    def tell_status(self, word, design):
        self.run(self.press.announce(status=TemplateStatus(design, word, self.press.now)))

    @rule(limit=st.integers(1, 3))
    def review(self, limit):
        self.run(self.press.journal.holding.review(self.press.rules, limit, self.press.now))

    @precondition(lambda self: not self.lost and not self.placed)
    @rule(moved=st.integers(0, 2))
    def let_out(self, moved):
        """Place everything that was held and may be visible, and move the first of it."""
        self.placed = self.run(self.press.place_opened())
        for step in self.placed[:moved]:
            self.move(step)

    @precondition(lambda self: not self.lost and not self.placed)
    @rule(assets=st.lists(ASSETS, min_size=2, max_size=4))
    def publish_one_by_one(self, assets):
        """Many steps at once, so that short runs come far."""
        for asset in assets:
            self.announce([asset], batch=False)
            self.publish_all()

    @precondition(lambda self: not self.lost and not self.placed)
    @rule()
    def publish_all(self):
        for job in self.run(self.press.jobs()):
            if job.row not in {held.row for held in self.in_hand}:
                self.in_hand.insert(0, job)
                self.place(1)
                self.settle()

    @precondition(lambda self: not self.lost)
    @rule(which=st.integers(0, 3))
    def fetch(self, which):
        held = {job.row for job in self.in_hand} | {step[0].row for step in self.placed}
        waiting = [job for job in self.run(self.press.jobs()) if job.row not in held]
        if waiting:
            self.in_hand.append(waiting[which % len(waiting)])

    @precondition(lambda self: not self.placed)
    @rule(most=st.integers(1, 2), moved=st.integers(0, 2))
    def begin(self, most, moved):
        """Place a batch and move the first of it; what is left of that can be cut off."""
        if not self.in_hand and not self.lost:
            self.fetch(0)
        self.place(most)
        for step in self.placed[:moved]:
            self.move(step)

    def place(self, most):
        batch = {job.visual: job for job in self.in_hand[:most]}
        for job in batch.values():
            self.in_hand.remove(job)
            content = json.dumps([job.asset.url, job.asset.version])
            step = self.run(self.press.place(job, content.encode()))
            self.meant[step[1].sha256] = job.asset
            if isinstance(step[2], Placement):
                self.placed.append(step)
            else:
                self.run(self.press.settle(step))

    def move(self, step):
        self.press.move(step)
        self.moved.add(step[0].row)

    @precondition(lambda self: self.placed)
    @rule()
    def settle(self):
        for step in self.placed:
            if step[0].row not in self.moved:
                self.move(step)
        while self.placed:
            step = self.placed.pop(0)
            self.moved.discard(step[0].row)
            self.run(self.press.settle(step))

    @precondition(lambda self: self.in_hand)
    @rule()
    def give_up(self):
        self.run(self.press.give_up(self.in_hand.pop(0)))

    @rule(recorded=st.booleans())
    def write_manifests(self, recorded):
        self.written = self.run(self.press.write_manifests())
        if recorded:
            self.record_manifests()

    @precondition(lambda self: self.written is not None)
    @rule()
    def record_manifests(self):
        self.run(self.press.journal.manifested(self.written, []))
        self.written = None

    @precondition(lambda self: not self.placed)
    @rule(recorded=st.booleans())
    def sweep(self, recorded):
        files = self.run(self.press.journal.holding.withdrawn(10))
        for key, row in files:
            if key in self.press.tree:
                self.press.held[held_key(row)] = self.press.tree.pop(key)
        if not recorded:
            return
        self.run(self.press.journal.holding.set_aside(files, self.press.rules, self.press.now))
        for key in self.run(self.press.journal.removable(10)):
            self.press.tree.pop(key, None)
            self.press.held.pop(key, None)
            self.run(self.press.journal.removed([key], self.press.rules, self.press.now))

    @precondition(lambda self: self.placed)
    @rule()
    def lose_the_store(self):
        """What was moved stays so, unrecorded until the store is back; what is in hand may still come."""
        self.placed, self.lost = [], True
        self.moved.clear()

    @precondition(lambda self: self.lost and not self.placed)
    @rule()
    def come_back(self):
        self.run(self.press.recover())
        self.lost = False
        self.settled_and_named()

    @rule()
    def crash(self):
        self.in_hand, self.placed, self.written, self.lost = [], [], None, False
        self.moved.clear()
        self.run(self.press.recover())
        self.settled_and_named()

    def settled_and_named(self):
        """With nothing on its way, a manifest that is written now has no excuse."""
        self.run(self.press.name_all())
        self.written = None
        assert self.press.named().items() <= self.press.tree.items()

    def work_off(self):
        while True:
            self.run(self.press.review())
            self.run(self.press.let_out())
            self.run(self.press.catch_up())
            jobs = self.run(self.press.jobs())
            if self.press.rows("SELECT 1 FROM reviews") or self.run(self.press.journal.holding.opened()):
                continue
            if not jobs:
                break
            self.in_hand = jobs[:1]
            self.place(1)
            self.settle()
        assert self.press.named() == self.press.tree, "no stray and no missing file"
        assert self.told() == self.press.tree, "what was told of changes adds up to the tree"
        held = {held_key(row) for (row,) in self.press.rows("SELECT asset FROM assets WHERE state = 'held'")}
        assert set(self.press.held) == held, "no held file is missing, and none is left over"

    def told(self):
        """What a mirror would be that is made of what was told."""
        mirror = {}
        for event, detail in self.press.rows("SELECT event, detail FROM happenings ORDER BY seq"):
            change = json.loads(detail)
            if event == "asset.published":
                mirror[change["path"]] = change["sha256"]
            elif event == "asset.removed":
                mirror.pop(change["path"], None)
        return mirror

    def finish_everything(self):
        self.work_off()
        self.only_what_may_be_visible_is()
        for design in DESIGNS:
            self.run(self.press.announce(status=TemplateStatus(design, "APPROVED", self.press.now + 1e6)))
        self.work_off()
        rows = self.press.rows(
            "SELECT visual, state, published_at FROM assets ORDER BY visual, version IS NOT NULL, version, seq, asset"
        )
        for visual in {row[0] for row in rows}:
            ended = [state for mine, state, _ in rows if mine == visual and state != "failed"]
            assert ended[-1:] in ([], ["published"]), "the newest that did not fail is the published one"
            assert ended.count("published") <= 1
        assert not self.press.held

    def only_what_may_be_visible_is(self):
        """Nothing of a closed design is visible, and nothing else is held."""
        if self.press.rules.approved is None:
            assert not self.press.held
            return
        closed = {id_ for id_, word in self.press.rows("SELECT id, status FROM templates") if word != "APPROVED"}
        visible = self.press.rows("SELECT DISTINCT design FROM assets WHERE folder IS NOT NULL")
        assert not {design for (design,) in visible} & closed
        held = self.press.rows("SELECT DISTINCT design FROM assets WHERE state = 'held'")
        assert {design for (design,) in held} <= closed

    @invariant()
    def manifests_are_true(self):
        if not hasattr(self, "press"):
            return
        for key, sha256 in self.press.named().items():
            found = self.press.tree.get(key)
            assert found is not None, f"{key} is named and not there"
            if found != sha256:
                assert not self.is_newer(sha256, found), f"{key} went back to an older version"

    @invariant()
    def newer_wins(self):
        if not hasattr(self, "press"):
            return
        for key, sha256 in self.press.tree.items():
            before = self.seen.get(key)
            assert before is None or not self.is_newer(before, sha256), f"an older version went over {key}"
        self.seen = dict(self.press.tree)

    def is_newer(self, one, other):
        """Tell if the first is a newer version than the second; both have to be of one visual."""
        one, other = self.meant[one], self.meant[other]
        assert one.id[0] == other.id[0], "a visual went over another"
        return self.rank(one) > self.rank(other)

    @staticmethod
    def rank(asset):
        if asset.version is None:
            return (0, int(asset.url.rpartition("/")[2]))
        return (1, asset.version)


TestMirror = Mirror.TestCase
TestMirror.settings = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
