"""Signatures and payloads of Abyssale: the platform's own examples, their variants, and anything at all."""

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.model import Asset, Event, Format, Malformed, Template, TemplateStatus, Unknown
from syncd.sources.abyssale import EVENTS, decode, delivery_id, hint_of, sign, verify
from syncd.sources.protocol import Rejected, Verified
from syncd.sources.table import SOURCES

PAYLOADS = {path.stem: path.read_bytes() for path in Path(__file__).with_name("payloads").glob("*.json")}

SECRET = "whsec_" + "1" * 64
T = 1790000000
BODY = b'{"export_id":"0b7e2c61-6c0e-4f2f-9a51-6d1d5b0f7a10","archive_url":"https://example.test/x.zip"}'
DIGEST = "a71dd410abfed4d651695366faa0f37a5509d4c636d32167c6585d5809fe1af2"

URL = "https://cdn.example.test/a.png"
BANNER = {"id": "b1", "file": {"type": "png", "url": URL}}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        *("event_type", "event", "type", "data", "id", "version", "sharing_id", "file", "image", "url", "cdn_url"),
        *("fallback_image_url", "filename", "format", "width", "template", "project", "name", "banners", "errors"),
        *("export_id", "archive_url", "requested_at", "status", "status_updated_at"),
    ]
)
PAYLOAD = st.recursive(
    st.sampled_from(["zip", URL, "b1", *EVENTS, "", 3, 2.0, -1, True, None, [], "\0", "9" * 400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=30,
)


def judge(*values, body=BODY, secrets=(SECRET,), now=float(T), tolerance=300.0):
    headers = [("Host", "a.test"), *(("x-abyssale-SIGNATURE", value) for value in values)]
    return verify(headers, body, secrets, tolerance, now)


def read(payload, hint=None):
    return decode(orjson.dumps(payload), hint)


def only(payload, hint=None):
    event = read(payload, hint)
    assert isinstance(event, Event)
    (asset,) = event.assets
    return asset


# ---- signatures ----


def test_the_platforms_own_vector_is_reproduced():
    assert sign(BODY, SECRET, T) == f"t={T},v1={DIGEST}"


def test_a_signed_delivery_is_verified_and_says_when_it_was_signed():
    assert judge(f"t={T},v1={DIGEST}") == Verified(str(T))


@pytest.mark.parametrize(
    ("away", "verdict"),
    [(-301, Rejected), (-300, Verified), (0, Verified), (300, Verified), (300.9, Verified), (301, Rejected)],
)
def test_the_tolerance_includes_its_boundary_in_whole_seconds(away, verdict):
    assert isinstance(judge(f"t={T},v1={DIGEST}", now=T + away), verdict)


def test_either_digest_and_either_secret_will_do_while_rotating():
    other = "0" * 64
    for header in (f"t={T},v1={DIGEST},v1={other}", f"t={T},v1={other},v1={DIGEST}"):
        for secrets in ((SECRET, "whsec_new"), ("whsec_new", SECRET)):
            assert judge(header, secrets=secrets) == Verified(str(T))


def test_a_second_rotation_forgets_the_first_secret():
    assert isinstance(judge(f"t={T},v1={DIGEST}", secrets=("whsec_second", "whsec_third")), Rejected)


def test_keys_of_schemes_to_come_are_passed_over():
    assert judge(f"v0=what,t={T},v2=,v1={DIGEST},v3=x=y") == Verified(str(T))


def test_white_space_between_the_pairs_is_passed_over():
    assert judge(f"t={T}, v1={DIGEST}") == Verified(str(T))


@pytest.mark.parametrize(
    "values",
    [
        (),
        (f"t={T},v1={DIGEST}", f"t={T},v1={DIGEST}"),
        (f"t={T},v1={DIGEST}, t={T},v1={DIGEST}",),
        (f"t={T},v1={DIGEST},\tt={T}",),
        (f"t={T},t={T},v1={DIGEST}",),
        (f"t={T},t=1,v1={DIGEST}",),
        (f"v1={DIGEST}",),
        (f"t=,v1={DIGEST}",),
        (f"t=1_790000000,v1={DIGEST}",),
        (f"t=+{T},v1={DIGEST}",),
        (f"t= {T},v1={DIGEST}",),
        (f"t={T}\n,v1={DIGEST}",),
        ("t=١٧٩٠٠٠٠٠٠٠,v1=" + DIGEST,),
        (f"t={'0' * 5000}{T},v1={DIGEST}",),
        (f"t={T}",),
        (f"t={T},v1=",),
        (f"t={T},v1={DIGEST.upper()}",),
        (f"t={T},v1={DIGEST[:-1]}",),
        (f"t={T},v1={DIGEST}\n",),
        (f"t={T},v1={'é' * 64}",),
        (f"t={T}," + ",".join([f"v1={DIGEST}"] * 9),),
        (f"t={T},v1={DIGEST},",),
        (f"t={T},v1={DIGEST},v2={'x' * 2048}",),
        ("\udcff",),
    ],
)
def test_a_malformed_or_doubled_header_is_refused(values):
    assert isinstance(judge(*values), Rejected)


def test_a_forged_body_or_time_is_refused():
    assert isinstance(judge(f"t={T},v1={DIGEST}", body=BODY + b" "), Rejected)
    assert isinstance(judge(f"t={T + 1},v1={DIGEST}"), Rejected)


@pytest.mark.parametrize("secrets", [(), ("",)])
def test_without_a_secret_nothing_is_authentic(secrets):
    assert isinstance(judge(sign(BODY, "", T), secrets=secrets), Rejected)


@given(st.lists(st.tuples(st.sampled_from(["X-Abyssale-Signature", "x"]), st.text()), max_size=3), st.binary())
def test_no_headers_make_the_verifier_raise(headers, body):
    assert isinstance(verify(headers, body, [SECRET], 300, T), Rejected)


@given(
    st.lists(
        st.tuples(st.sampled_from(["t", "v1", "v2", ""]), st.sampled_from([str(T), DIGEST, "é", ""])),
        max_size=5,
    )
)
def test_only_one_time_with_the_right_digest_is_ever_verified(pairs):
    header = ",".join(f"{key}={value}" for key, value in pairs)
    right = [value for key, value in pairs if key == "t"] == [str(T)] and ("v1", DIGEST) in pairs
    assert isinstance(judge(header), Verified) == right


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["f" * 64], "f" * 64),
        (["a.B_c-1"], "a.B_c-1"),
        (["x" * 128], "x" * 128),
        (["x" * 129], None),
        ([""], None),
        (["a b"], None),
        (["a\n"], None),
        (["é"], None),
        (["a", "a"], None),
        ([], None),
    ],
)
def test_a_delivery_has_one_wellformed_id_or_none(values, expected):
    assert delivery_id([("X-ABYSSALE-Delivery-Id", value) for value in values]) == expected


@pytest.mark.parametrize("tail", ["", "NEW_BANNER", "new_banner/", "new-banner", "other"])
def test_only_lower_case_names_of_events_are_urls(tail):
    assert [hint_of(event.lower()) for event in EVENTS] == list(EVENTS)
    assert hint_of(tail) is None


# ---- the platform's examples ----


def test_a_banner_tells_everything_about_its_file():
    assert decode(PAYLOADS["new_banner"], None) == Event(
        "NEW_BANNER",
        (
            Asset(
                source="abyssale",
                kind="file",
                id="3c9d2f10-8a4b-4e6c-9b1d-7f5a2e8c0d11",
                url="https://production-banners.s3.eu-west-1.amazonaws.com/acme/3c9d2f10.png",
                type="png",
                fallback_url="https://cdn.abyssale.com/acme/3c9d2f10.png",
                sharing_id="a80f6c3e-2d5b-4f71-8c9e-1b3d5f7a9c20",
                version=2,
                filename="spring_fr_300x250.png",
                template=Template("d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f6", "Spring sale"),
                format=Format("medium-rectangle", 300, 250, "px"),
                project=Template("0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f", "Retail"),
                view_url="https://app.example.test/view/1",
                edit_url="https://app.example.test/edit/1",
            ),
        ),
    )


def test_a_banner_may_tell_its_id_and_file_alone():
    assert decode(PAYLOADS["new_banner_minimal"], None) == Event(
        "NEW_BANNER",
        (
            Asset(
                source="abyssale",
                kind="file",
                id="3c9d2f10-8a4b-4e6c-9b1d-7f5a2e8c0d12",
                url="https://production-banners.s3.eu-west-1.amazonaws.com/acme/3c9d2f10b.jpeg",
                type="jpeg",
            ),
        ),
    )


def test_an_html5_banner_brings_its_fallback_image():
    event = decode(PAYLOADS["new_banner_html5"], None)
    assert isinstance(event, Event)
    visual, fallback = event.assets
    assert (visual.kind, visual.type) == ("html5", "zip")
    assert (fallback.kind, fallback.type, fallback.filename) == ("fallback", "jpeg", "spring_160x600.zip")
    assert fallback.url.endswith("/acme/anim.jpeg")
    assert (fallback.id, fallback.sharing_id, fallback.version) == (
        visual.id,
        visual.sharing_id,
        visual.version,
    )
    assert (fallback.template, fallback.format) == (visual.template, visual.format)
    assert not set(fallback.identities) & set(visual.identities)


def test_a_multipage_visual_has_a_format_without_id():
    event = decode(PAYLOADS["new_banner_multipage"], None)
    assert isinstance(event, Event)
    assert event.assets[0].format == Format("", 210.0, 297.0, "mm")


def test_a_batch_tells_its_banners_and_what_failed():
    event = decode(PAYLOADS["new_banner_batch"], None)
    assert isinstance(event, Event)
    assert event.name == "NEW_BANNER_BATCH"
    assert [asset.filename for asset in event.assets] == ["b15.jpeg"]
    assert event.assets[0].version is None
    assert event.notes == ("leaderboard: headline does not fit its box",)


def test_a_jobs_callback_is_a_batch_and_its_version_is_the_apis():
    event = decode(PAYLOADS["new_banner_batch_callback"], None)
    assert isinstance(event, Event)
    assert event.name == "NEW_BANNER_BATCH"
    assert [(asset.type, asset.version) for asset in event.assets] == [("mp4", 1)]
    assert (event.notes, event.unclear) == ((), ())


def test_a_callback_of_a_generation_that_goes_on_tells_banners_and_no_batch():
    payload = {**json.loads(PAYLOADS["new_banner_batch_callback"]), "is_finalized": False}
    event = decode(json.dumps(payload).encode(), None)
    assert isinstance(event, Event)
    assert (len(event.assets), event.batch) == (1, "")


def test_an_export_is_one_archive():
    assert decode(PAYLOADS["new_export"], None) == Event(
        "NEW_EXPORT",
        (
            Asset(
                source="abyssale",
                kind="export",
                id="0b7e2c61-6c0e-4f2f-9a51-6d1d5b0f7a10",
                url="https://downloads.example.test/acme/export.zip",
                requested_at=1789999900,
                generated_at=1789999984,
            ),
        ),
    )


def test_a_design_status_has_no_assets():
    template = Template("d1e2f3a4-b5c6-4d7e-8f90-a1b2c3d4e5f6", "Spring sale")
    assert decode(PAYLOADS["template_status"], None) == Event(
        "TEMPLATE_STATUS", status=TemplateStatus(template, "APPROVED", 1789000000)
    )


# ---- which event it is ----


@pytest.mark.parametrize("key", ["event_type", "event", "type"])
@pytest.mark.parametrize("stem", sorted(PAYLOADS))
def test_every_example_means_the_same_named_wrapped_or_by_its_url(stem, key):
    plain = decode(PAYLOADS[stem], None)
    assert isinstance(plain, Event)
    payload = json.loads(PAYLOADS[stem])
    assert read({key: plain.name.lower(), **payload}) == plain
    assert read({"data": payload}) == plain
    assert read({"data": {key: plain.name, **payload}}) == plain
    assert read({key: plain.name, "data": payload, "sent_at": 1}) == plain
    assert decode(PAYLOADS[stem], plain.name) == plain


def test_the_url_decides_before_any_name():
    assert only({"event_type": "TEMPLATE_STATUS", **BANNER}, "NEW_BANNER").id == "b1"
    assert read(BANNER, "NEW_EXPORT") == Malformed("NEW_EXPORT", "export_id: missing")


@pytest.mark.parametrize("key", ["event_type", "event"])
def test_an_unknown_name_is_an_unknown_event_whatever_its_shape(key):
    unknown = read({key: "banner_deleted", **BANNER})
    assert unknown == Unknown("BANNER_DELETED", "no event that syncd knows: BANNER_DELETED")


def test_a_type_that_names_no_event_leaves_it_to_the_shape():
    assert only({"type": "static", **BANNER}).id == "b1"
    assert only({"type": "NEW_BANNER", "data": {"type": "static", **BANNER}}).id == "b1"


def test_an_unknown_name_is_shown_cut_and_without_control_characters():
    assert read({"event": "\x1b[2J" + "x" * 5000}).name == "[2J" + "X" * 60


@pytest.mark.parametrize("payload", [{}, {"id": "1"}, {"file": "x"}, {"data": {}}, {"data": [BANNER]}, {"status": 1}])
def test_what_has_neither_name_nor_shape_is_unknown(payload):
    assert read(payload) == Unknown("", "neither its name nor its shape is known")


def test_shapes_are_tried_in_the_order_of_the_facts():
    everything = {
        "export_id": "e",
        "archive_url": URL,
        "banners": [],
        "file": {"url": URL},
        "status": "S",
        "id": "i",
    }
    seen = []
    for key in ("export_id", "banners", "file", "status"):
        seen.append(read(everything).name)
        del everything[key]
    assert seen == ["NEW_EXPORT", "NEW_BANNER_BATCH", "NEW_BANNER", "TEMPLATE_STATUS"]
    assert isinstance(read(everything), Unknown)


# ---- fields ----


def test_the_deprecated_image_is_used_where_there_is_no_file():
    image = {"type": "PNG", "url": URL}
    assert (only({"id": "b1", "image": image}).url, only({"id": "b1", "image": image}).type) == (URL, "png")
    assert only({**BANNER, "image": {"url": "https://other.example.test/"}}).url == URL
    assert only({"id": "b1", "file": None, "image": image}).url == URL


@pytest.mark.parametrize(
    ("version", "expected"),
    [(None, None), (0, 0), (7, 7), (3.0, 3), ("12", 12), (2**53, 2**53), ("0007", 7)],
)
def test_a_version_is_a_whole_number_however_written(version, expected):
    assert only({**BANNER, "version": version}).version == expected


@pytest.mark.parametrize(
    "version", [True, -1, 1.5, "1.0", "", "v2", "\u0661", "1_0", 2**53 + 2, 1e300, "9" * 17, [1], {}]
)
def test_any_other_version_is_unclear(version):
    malformed = read({**BANNER, "version": version})
    assert malformed == Malformed("NEW_BANNER", "version: not a whole number from 0 to 9007199254740992")


@pytest.mark.parametrize(
    "bad", ["", "  ", None, True, 1.5, [], {}, "a\nb", "a\u202eb", "\0", "x" * 257, 1e20, "a\N{REPLACEMENT CHARACTER}"]
)
def test_an_identity_is_text_that_can_be_seen(bad):
    for payload in ({**BANNER, "id": bad}, {"export_id": bad, "archive_url": URL, "event": "new_export"}):
        assert isinstance(read(payload), Malformed)


def test_an_identity_may_be_a_whole_number():
    assert only({**BANNER, "id": 42, "sharing_id": 7}).identities[0].endswith("sharing:7")
    assert only({**BANNER, "id": 42}).id == "42"


def test_a_sharing_id_is_absent_or_an_identity():
    assert only({**BANNER, "sharing_id": None}).sharing_id == ""
    assert read({**BANNER, "sharing_id": {"a": 1}}) == Malformed("NEW_BANNER", "sharing_id: not usable")


@pytest.mark.parametrize(
    "url", [None, "", 5, "ftp://a/b", "//a/b", "/etc/passwd", "file:///x", "https://" + "x" * 8192]
)
def test_a_banner_without_a_web_address_is_malformed(url):
    reason = "file.url: missing" if url is None else "file.url: not usable"
    assert read({"id": "b1", "file": {"type": "png", "url": url}}) == Malformed("NEW_BANNER", reason)


@pytest.mark.parametrize("junk", [True, [], {}, 1.5, -3, "x", None])
def test_decoration_of_a_wrong_type_counts_as_absent(junk):
    asset = only(
        {
            "id": "b1",
            "file": {"url": URL, "type": None, "cdn_url": junk, "filename": []},
            "format": {"width": junk if junk != 1.5 else "1", "height": 1e300, "unit": {}},
            "template": "Spring",
            "project": [junk],
            "view_url": junk,
            "edit_url": "javascript:alert(1)",
        }
    )
    assert asset == Asset(source="abyssale", kind="file", id="b1", url=URL)


def test_half_a_surrogate_pair_costs_a_name_one_character_and_an_identity_its_meaning():
    body = json.dumps({**BANNER, "template": {"id": "t", "name": "Sale \ud83d"}}).encode()
    (asset,) = decode(body, None).assets
    assert asset.template.name == "Sale \N{REPLACEMENT CHARACTER}"
    reason = "id: has characters that got lost"
    assert decode(body.replace(b'"b1"', rb'"b\udc00"'), None) == Malformed("NEW_BANNER", reason)


def test_names_are_cut_where_no_name_is_that_long():
    asset = only({**BANNER, "template": {"id": 5, "name": "n" * 5000}})
    assert asset.template == Template("5", "n" * 1024)


@pytest.mark.parametrize("moment", [1e300, -5, 253402300800, "2026-11-21", True, None])
def test_an_absurd_time_counts_as_absent(moment):
    export = only({"export_id": "e", "archive_url": URL, "requested_at": moment, "generated_at": 253402300799})
    assert (export.requested_at, export.generated_at) == (None, 253402300799)


def test_a_status_that_says_nothing_is_malformed():
    assert read({"id": "d1", "status": ""}, "TEMPLATE_STATUS") == Malformed(
        "TEMPLATE_STATUS", "status: empty, or has characters that can't be seen"
    )


def test_an_unknown_status_is_passed_on():
    event = read({"id": "d1", "status": "ARCHIVED", "status_updated_at": "soon"})
    assert event == Event("TEMPLATE_STATUS", status=TemplateStatus(Template("d1"), "ARCHIVED", None))


# ---- batches ----


def test_an_unclear_banner_does_not_hold_up_the_others():
    event = read({"banners": [BANNER, {"id": "b2", "file": {}}, 7, {**BANNER, "id": "b4"}]})
    assert isinstance(event, Event)
    assert [asset.id for asset in event.assets] == ["b1", "b4"]
    assert event.unclear == ("banners[1].file.url: missing", "banners[2].id: missing")


def test_a_batch_of_which_nothing_is_clear_is_malformed():
    assert read({"banners": [{}, {"id": "b2"}]}) == Malformed(
        "NEW_BANNER_BATCH", "banners[0].id: missing; banners[1].file.url: missing"
    )


def test_an_unusable_fallback_image_is_named_and_the_visual_kept():
    event = read({"id": "b1", "file": {"type": "zip", "url": URL, "fallback_image_url": "x"}})
    assert isinstance(event, Event)
    assert [asset.kind for asset in event.assets] == ["html5"]
    assert event.unclear == ("file.fallback_image_url: not usable",)


@pytest.mark.parametrize("banners", [[], None])
def test_a_total_failure_is_an_event_with_notes_alone(banners):
    errors = [{"template_format_name": "a", "reason": "b"}, {"reason": "c"}, "d", 5, {}]
    event = read({"banners": banners, "errors": errors}, "NEW_BANNER_BATCH")
    assert event == Event("NEW_BANNER_BATCH", notes=("a: b", "c", "d"), batch="without an id")


@pytest.mark.parametrize("banners", [None, "x", {}])
def test_a_batch_without_a_list_of_banners_is_malformed(banners):
    assert isinstance(read({"banners": banners}, "NEW_BANNER_BATCH"), Malformed)


def test_remarks_are_few_however_many_there_were():
    event = read({"banners": [BANNER] + [0] * 5000, "errors": ["no"] * 5000})
    assert isinstance(event, Event)
    assert (len(event.unclear), event.unclear[-1]) == (101, "and 4900 more")
    assert (len(event.notes), event.notes[-1]) == (101, "and 4900 more")


# ---- anything at all ----


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b'"NEW_BANNER"',
        b"null",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"id":"\xff"}',
        b'{"id":"\\ud800}',
        b'{"version":NaN}',
        b'{"version":Infinity}',
        b'{"version":1e999}',
        b'{"version":' + b"9" * 5000 + b"}",
        b'{"data":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_strict_json_object_is_malformed(body):
    for hint in (None, *EVENTS):
        malformed = decode(body, hint)
        assert isinstance(malformed, Malformed)
        assert malformed.name == (hint or "")


@given(st.binary(), st.sampled_from([None, *EVENTS]))
def test_no_bytes_make_the_decoder_raise(body, hint):
    assert isinstance(decode(body, hint), Event | Unknown | Malformed)


@given(ANYTHING | PAYLOAD, st.sampled_from([None, *EVENTS]))
def test_no_json_makes_the_decoder_raise_and_every_asset_has_identity_and_address(payload, hint):
    event = read(payload, hint)
    assert isinstance(event, Event | Unknown | Malformed)
    if isinstance(event, Event):
        for asset in event.assets:
            assert asset.id
            assert asset.url == URL


def test_the_source_is_found_by_its_name_in_the_config():
    assert SOURCES["abyssale"].decode(PAYLOADS["new_export"], None) == decode(PAYLOADS["new_export"], None)
