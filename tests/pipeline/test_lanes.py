import pytest

from syncd.config.tree import Retry as Patience
from syncd.journal import Again, GaveUp
from syncd.model import Asset, Failed, Job, Retry
from syncd.pipeline.lanes import LONGEST_PAUSE, ending

NOW = 1_790_000_000.0
PATIENCE = Patience(longest="60s", pause="2m")


def job(goes=0, left=86_400.0):
    asset = Asset(source="abyssale", kind="file", id="1", url="https://host.test/a")
    return Job(1, 1, asset, None, "d", NOW, attempts=0, goes=goes, give_up_at=NOW + left)


def wait_of(result, **fields):
    end = ending(job(**fields), result, PATIENCE, NOW)
    assert isinstance(end, Again)
    return end.next_at - NOW


def test_a_failure_ends_the_job():
    assert isinstance(ending(job(), Failed("HTTP 404", 5), PATIENCE, NOW), GaveUp)


@pytest.mark.parametrize(("goes", "pause"), [(0, 120), (1, 240), (4, 1920), (5, LONGEST_PAUSE), (500, LONGEST_PAUSE)])
def test_pauses_double_with_the_goes(goes, pause):
    assert 0.9 * pause <= wait_of(Retry("HTTP 503", 5), goes=goes) <= pause


def test_a_long_retry_after_is_waited_for():
    assert wait_of(Retry("HTTP 503", 1, after=600.0), goes=3) == 600


def test_a_retry_after_beyond_the_end_gives_up_now():
    assert isinstance(ending(job(left=500), Retry("HTTP 503", 1, after=600.0), PATIENCE, NOW), GaveUp)


@pytest.mark.parametrize("after", [0.5, 7.0, 600.0])
def test_a_parked_job_waits_for_the_next_probe_whatever_came_before(after):
    assert wait_of(Retry("host h is down", 0, after=after, parked=True), goes=9) == after


def test_a_parked_job_has_its_last_go_in_time():
    parked = Retry("host h is down", 0, after=600.0, parked=True)
    assert wait_of(parked, left=500) == 500
    end = ending(job(left=0), parked, PATIENCE, NOW)
    assert isinstance(end, GaveUp)
    assert "give_up_after" in end.why.reason
