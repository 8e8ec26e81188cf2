from dataclasses import dataclass, replace

import pytest

from syncd.mirror.plan import Selection, select
from syncd.model import Asset, Event, Format, Template, TemplateStatus


@dataclass(frozen=True)
class Filters:
    events: tuple[str, ...] = ("NEW_BANNER", "NEW_EXPORT", "TEMPLATE_STATUS")
    templates: tuple[str, ...] = ("*",)
    formats: tuple[str, ...] = ("*",)
    types: tuple[str, ...] = ("*",)


BANNER = Asset(
    "abyssale", "file", "1", "https://h/1.jpeg", "jpeg",
    template=Template("d1e2", "Spring sale"), format=Format("medium-rectangle"),
)  # fmt: skip
BARE = Asset("abyssale", "file", "2", "https://h/2")


def chosen(*assets, **filters):
    return select(Event("NEW_BANNER", assets), Filters(**filters)).assets


def test_everything_passes_by_default_in_its_order():
    assert chosen(BARE, BANNER) == (BARE, BANNER)


def test_an_event_that_is_not_wanted_is_ignored_with_the_reason():
    answer = select(Event("NEW_BANNER_BATCH", (BANNER,)), Filters())
    assert answer == Selection(ignored="NEW_BANNER_BATCH is not among the events of the config")


@pytest.mark.parametrize("pattern", ["d1e2", "D1*", "spring sale", "SPRING*", "*"])
def test_a_pattern_meets_the_id_or_the_name_in_any_case(pattern):
    assert chosen(BANNER, templates=(pattern,)) == (BANNER,)


@pytest.mark.parametrize("pattern", ["spring", "summer*", "medium-rectangle", "!spring*", "!D1E2"])
def test_a_pattern_that_does_not_meet_keeps_the_asset_out(pattern):
    assert chosen(BANNER, templates=(pattern,)) == ()


def test_exclusions_win_over_inclusions_wherever_they_stand():
    assert chosen(BANNER, templates=("!spring*", "*")) == ()
    assert chosen(BANNER, templates=("*", "!spring*")) == ()
    assert chosen(BANNER, templates=("*", "!summer*")) == (BANNER,)


def test_exclusions_alone_mean_all_but_those():
    other = replace(BANNER, template=Template("x", "Summer"))
    assert chosen(BANNER, other, BARE, templates=("!summer",)) == (BANNER, BARE)


@pytest.mark.parametrize("key", ["templates", "formats", "types"])
def test_what_has_no_name_is_met_by_the_star_alone(key):
    assert chosen(BARE, **{key: ("*",)}) == (BARE,)
    assert chosen(BARE, **{key: ("?*",)}) == ()


def test_formats_are_met_by_id():
    assert chosen(BANNER, formats=("Medium-*",)) == (BANNER,)
    assert chosen(BANNER, formats=("sky*",)) == ()


def test_types_are_met_under_every_extension_they_have():
    assert chosen(BANNER, types=("jpg",)) == (BANNER,)
    assert chosen(BANNER, types=("png", "JPEG")) == (BANNER,)
    assert chosen(BANNER, types=("!jpg",)) == ()


def test_a_fallback_image_goes_where_its_zip_goes():
    html5 = replace(BANNER, kind="html5", type="zip")
    image = replace(html5, kind="fallback", type="jpeg")
    assert chosen(html5, image, types=("zip",)) == (html5, image)
    assert chosen(html5, image, types=("jpeg",)) == ()


def test_an_export_is_filtered_by_its_event_alone():
    export = Asset("abyssale", "export", "e", "https://h/x.zip")
    filters = Filters(templates=("x",), formats=("x",), types=("x",))
    assert select(Event("NEW_EXPORT", (export,)), filters).assets == (export,)


def test_a_template_status_obeys_the_templates():
    status = TemplateStatus(Template("d1e2", "Spring sale"), "APPROVED", None)
    event = Event("TEMPLATE_STATUS", status=status)
    assert select(event, Filters(templates=("spring*",))) == Selection(status=status)
    assert select(event, Filters(templates=("!spring*",))) == Selection(ignored="filtered out by templates (1)")


def test_the_reason_counts_what_each_filter_kept_out():
    other = replace(BANNER, format=Format("skyscraper"))
    event = Event("NEW_BANNER", (BANNER, BANNER, replace(other, template=Template("s"))))
    answer = select(event, Filters(templates=("s",), formats=("medium*",)))
    assert answer.ignored == "filtered out by templates (2), formats (1)"


def test_a_batch_that_failed_as_a_whole_is_not_ignored():
    assert select(Event("NEW_BANNER", notes=("leaderboard: no room",)), Filters()) == Selection()
