import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncd import __version__
from syncd.observe.metrics import ENDINGS, REFUSALS, Metrics
from syncd.observe.status import OUTCOMES


def samples(metrics):
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(metrics.expose().decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def test_deliveries_are_counted_by_source_event_and_outcome():
    metrics = Metrics()
    metrics.delivery("abyssale", "", "accepted", 3)
    metrics.delivery("abyssale", "NEW_BANNER", "processed")
    found = samples(metrics)
    labels = ("event", ""), ("outcome", "accepted"), ("source", "abyssale")
    assert found["syncd_deliveries_total", *labels] == 3
    assert metrics.deliveries == {
        "accepted": 3, "duplicate": 0, "processed": 1, "ignored": 0, "quarantined": 0, "rejected": 0,
    }  # fmt: skip


def test_events_from_outside_do_not_grow_the_number_of_series():
    metrics = Metrics()
    for number in range(100):
        metrics.delivery("abyssale", f"INVENTED_{number}", "ignored")
    assert samples(metrics).keys() == samples(Metrics()).keys()
    labels = ("event", "other"), ("outcome", "ignored"), ("source", "abyssale")
    assert samples(metrics)["syncd_deliveries_total", *labels] == 100


def test_an_outcome_nobody_knows_is_a_mistake():
    with pytest.raises(KeyError):
        Metrics().delivery("abyssale", "", "lost")


def test_downloads_and_lags_are_distributions():
    metrics = Metrics()
    metrics.downloaded(1000, 0.2)
    metrics.downloaded(24, 20.0)
    metrics.published(3.0)
    metrics.published(-1.0)  # a clock that went back
    found = samples(metrics)
    assert found["syncd_download_bytes_total",] == 1024
    assert found["syncd_download_seconds_count",] == 2
    assert found["syncd_download_seconds_bucket", ("le", "0.25")] == 1
    assert found["syncd_publish_lag_seconds_sum",] == 3.0


def test_a_refused_reload_leaves_the_time_of_the_last_good_one():
    metrics = Metrics()
    metrics.reload(True, 100.0)
    metrics.reload(False, 200.0)
    found = samples(metrics)
    assert found["syncd_config_last_reload_successful",] == 0
    assert found["syncd_config_last_reload_success_timestamp_seconds",] == 100.0
    assert found["syncd_reloads_total", ("result", "failure")] == 1
    assert found["syncd_reloads_total", ("result", "success")] == 1


def test_the_rest_is_set_as_it_is_found():
    metrics = Metrics()
    metrics.queue(7, 12.5)
    metrics.free("mirror", 1 << 30)
    metrics.free("journal", None)
    metrics.stalled(0.25, 0.05)
    metrics.stalled(0.125, 0.5)
    metrics.asset("abyssale", "published")
    found = samples(metrics)
    assert found["syncd_queue_depth",] == 7
    assert found["syncd_queue_oldest_seconds",] == 12.5
    assert found["syncd_free_bytes", ("of", "mirror")] == 1 << 30
    assert found["syncd_free_bytes", ("of", "journal")] != found["syncd_free_bytes", ("of", "journal")]  # NaN: unknown
    assert found["syncd_loop_lag_seconds",] == 0.25
    assert found["syncd_loop_starved_seconds",] == 0.5
    assert found["syncd_loop_stall_seconds_bucket", ("le", "0.1")] == 0
    assert found["syncd_loop_stall_seconds_count",] == 2
    assert found["syncd_assets_total", ("outcome", "published"), ("source", "abyssale")] == 1
    assert found["syncd_build_info", ("version", __version__)] == 1
    assert found["process_open_fds",] > 0


def test_two_daemons_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.asset("abyssale", "published")
    labels = ("outcome", "published"), ("source", "abyssale")
    assert samples(one)["syncd_assets_total", *labels] == 1
    assert samples(other)["syncd_assets_total", *labels] == 0


def test_every_series_is_there_from_the_start():
    metrics = Metrics()
    before = samples(metrics).keys()
    for outcome in OUTCOMES:
        metrics.delivery(
            "abyssale", "NEW_BANNER" if outcome in ("processed", "ignored", "quarantined") else "", outcome
        )
    for ending in ENDINGS:
        metrics.asset("abyssale", ending)
    for error in REFUSALS:
        metrics.refused(error)
    metrics.delivery("", "", "rejected")
    metrics.reload(True, 1.0)
    metrics.reload(False, 1.0)
    metrics.queue(1, 1.0)
    metrics.free("mirror", 1)
    metrics.free("journal", 1)
    metrics.standing({"pending": 1, "published": 2, "superseded": 3, "failed": 4})
    metrics.failures(1, 1)
    metrics.able(ready=True, mirror_usable=False, hosts_paused=2)
    metrics.received(1.0)
    metrics.committed(0.1)
    assert samples(metrics).keys() == before


def test_what_can_be_done_is_one_or_zero():
    metrics = Metrics()
    metrics.able(ready=True, mirror_usable=False, hosts_paused=2)
    metrics.received(None)
    found = samples(metrics)
    assert (found["syncd_ready",], found["syncd_mirror_usable",], found["syncd_hosts_paused",]) == (1, 0, 2)
    assert found["syncd_last_delivery_timestamp_seconds",] == 0
