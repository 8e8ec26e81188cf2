import json
import re
from pathlib import Path

import pytest
from abstract_stage import BRANCH, PROJECT, event, push
from hypothesis import given
from hypothesis import strategies as st

from syncd.model import Commit, Event, Malformed, Template, Unknown
from syncd.sources import abstract
from syncd.sources.abstract import EVENTS, SIGNATURE_HEADER, decode, verify
from syncd.sources.protocol import Rejected, Verified

KEY = "lab-signing-key"
BODY = event("project.deleted", id="p1", objectType="project")
SIGNATURE = "2771008d8e316d10296668efcfaa133dd97f8763430a50d20b1a437c57fb9a01"


def judged(*values, body=BODY, secrets=(KEY,), header=SIGNATURE_HEADER):
    return verify([("Host", "h"), *((header, value) for value in values)], body, secrets, 300.0, 0.0)


def test_the_platforms_signature_is_good_and_says_nothing_of_the_time():
    assert judged(SIGNATURE) == Verified(None)
    assert judged(SIGNATURE, header="abstract-webhooks-signature") == Verified(None)
    assert abstract.request_headers(BODY, KEY, "an id", 7.0) == {
        "User-Agent": "Abstract-Webhooks", SIGNATURE_HEADER: SIGNATURE,
    }  # fmt: skip


def test_any_secret_will_do_while_they_rotate():
    assert judged(SIGNATURE, secrets=("new", KEY)) == Verified(None)
    assert judged(SIGNATURE, secrets=("new", "")) == Rejected("the signature fits none of the secrets")
    assert judged(SIGNATURE, secrets=("",)) == Rejected("no secret is configured")


@pytest.mark.parametrize(
    "value",
    [
        "",
        SIGNATURE.upper(),
        f"sha256={SIGNATURE}",
        SIGNATURE[:-1],
        SIGNATURE + "\n",
        "\N{ARABIC-INDIC DIGIT ONE}" * 64,
        "0" * 64,
    ],
)
def test_anything_else_is_refused(value):
    assert isinstance(judged(value), Rejected)


def test_a_missing_or_doubled_header_is_refused():
    assert isinstance(judged(), Rejected)
    assert isinstance(judged(SIGNATURE, SIGNATURE), Rejected)
    assert isinstance(judged(SIGNATURE, body=BODY + b" "), Rejected)


@given(st.lists(st.tuples(st.text(), st.text())), st.binary(), st.lists(st.text()))
def test_no_headers_body_or_secrets_raise(headers, body, secrets):
    verdict = verify([*headers, (SIGNATURE_HEADER, "x")], body, secrets, 0.0, 0.0)
    assert isinstance(verdict, Rejected)


def test_a_push_names_its_commits():
    told = decode(push(("aaaa", "2021-03-04T09:15:00Z"), ("bbbb", "2021-03-04T09:15:00.250Z")), None)
    branch = Template(BRANCH, "cart-icons")
    assert told.commits == (
        Commit("aaaa", PROJECT, branch, 1614849300000),
        Commit("bbbb", PROJECT, branch, 1614849300250),
    )
    assert (told.name, told.assets, told.unclear) == ("commits.created", (), ())
    (news,) = told.news
    assert (news.name, news.subject, news.title) == ("abstract.commits.created", "bbbb", "Redraw cart icon")
    assert dict(news.facts) == {"by": "Mia Lindt", "branch": "cart-icons", "commits": "2"}


@pytest.mark.parametrize("name", sorted(set(EVENTS) - {"commits.created"}))
def test_every_other_event_is_news_and_no_more(name):
    told = decode(event(name, id="x1", name="Checkout v2", status="wip"), None)
    assert (told.name, told.assets, told.commits) == (name, (), ())
    assert [(news.name, news.subject, news.title) for news in told.news] == [(f"abstract.{name}", "x1", "Checkout v2")]


def test_a_comment_says_who_where_and_what():
    body = event(
        "comment.created", id="c1", body="Stroke too thin", commenter={"name": "Ola Berg"},
        branchName="cart-icons", fileName="Icons", layerName="icon/cart",
    )  # fmt: skip
    (news,) = decode(body, None).news
    assert news.title == "Stroke too thin"
    assert dict(news.facts) == {"by": "Ola Berg", "branch": "cart-icons", "file": "Icons", "layer": "icon/cart"}


@pytest.mark.parametrize(
    "body",
    [b'{"event":"ping"}', b'{"event":"webhook.tested","data":{}}', b"{}", b'{"event":7}', event("commits.deleted")],
)
def test_what_nobody_knows_is_unknown(body):
    assert isinstance(decode(body, None), Unknown)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"event":"project.created"}',
        b'{"event":"project.created","data":{"object":[]}}',
        event("commits.created", commits=[]),
        event("commits.created", branch={"id": "master"}, commits=[]),
        event("commits.created", branch={"id": "../x", "projectId": "p"}, commits=[]),
        event("commits.created", branch={"id": "master", "projectId": "p"}),
        event("commits.created", branch={"id": "master", "projectId": "p"}, commits=[{"sha": "a/b"}]),
    ],
)
def test_what_can_not_be_understood_is_malformed(body):
    told = decode(body, None)
    assert isinstance(told, Malformed)
    assert told.reason


def test_a_commit_that_is_unclear_does_not_hold_up_the_others():
    branch = {"id": "master", "projectId": "p"}
    told = decode(event("commits.created", branch=branch, commits=[{"sha": ".."}, 7, {"sha": "aaaa"}]), None)
    assert [commit.id for commit in told.commits] == ["aaaa"]
    assert [remark.partition(":")[0] for remark in told.unclear] == [f"data.object.commits[{n}].sha" for n in (0, 1)]


@pytest.mark.parametrize(
    ("time", "version"),
    [
        ("2021-03-04T09:15:00+01:00", 1614845700000),
        ("2021-03-04T09:15:00", 1614849300000),
        (1614849300, 1614849300000),
        (1614849300123, 1614849300123),
        ("", 1614849302000),  # when the delivery was made
        ("yesterday", 1614849302000),
        (None, 1614849302000),
        (True, 1614849302000),
        (-1, 1614849302000),
        ("9999-12-31T23:59:59-23:59", 1614849302000),
    ],
)
def test_times_are_read_in_every_form_and_else_taken_from_the_delivery(time, version):
    assert decode(push(("aaaa", time)), None).commits[0].version == version


def test_of_a_huge_push_the_newest_commits_are_looked_up():
    many = [(f"{number:040x}", 1_600_000_000 + number) for number in range(600)]
    told = decode(push(*reversed(many)), None)
    assert [commit.id for commit in told.commits] == [sha for sha, _ in many[100:]]
    assert told.notes == ("only the newest 500 of 600 commits",)


LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.text(), LEAVES, max_size=2)
FIELDS = st.dictionaries(
    st.sampled_from(["id", "name", "projectId", "sha", "time", "branch", "commits", "user", "commenter", "body"]),
    JSON,
    max_size=4,
)


@given(st.sampled_from(EVENTS), FIELDS, FIELDS, st.lists(FIELDS | JSON, max_size=2))
def test_any_values_give_a_value(name, thing, branch, commits):
    body = json.dumps({"event": name, "data": {"object": {**thing, "branch": branch, "commits": commits}}})
    told = decode(body.encode(errors="surrogatepass"), None)
    assert isinstance(told, Event | Malformed)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_give_a_value(body):
    assert isinstance(decode(body, None), Unknown | Malformed)


def test_there_is_one_url_and_no_id():
    assert abstract.hint_of("commits.created") is None
    assert abstract.delivery_id([("X-Abyssale-Delivery-Id", "x")]) is None


def test_the_shipped_config_names_every_event():
    shipped = (Path(abstract.__file__).parents[1] / "config" / "sync.toml").read_text()
    line = next(line for line in shipped.splitlines() if line.startswith('# events = ["project'))
    assert tuple(re.findall('"([^"]+)"', line)) == EVENTS
