import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncd import __version__
from syncd.observe.metrics import Metrics


def samples(metrics):
    """Every sample by its name and labels, `_created` ones aside."""
    families = text_string_to_metric_families(metrics.expose().decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
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
    found = {key: value for key, value in samples(metrics).items() if key[0] == "syncd_deliveries_total"}
    assert list(found.values()) == [100]
    assert ("event", "other") in next(iter(found))


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
    metrics.loop_lag(0.25)
    metrics.asset("abyssale", "published")
    found = samples(metrics)
    assert found["syncd_queue_depth",] == 7
    assert found["syncd_queue_oldest_seconds",] == 12.5
    assert found["syncd_free_bytes", ("of", "mirror")] == 1 << 30
    assert found["syncd_free_bytes", ("of", "journal")] != found["syncd_free_bytes", ("of", "journal")]  # NaN: unknown
    assert found["syncd_loop_lag_seconds",] == 0.25
    assert found["syncd_assets_total", ("outcome", "published"), ("source", "abyssale")] == 1
    assert found["syncd_build_info", ("version", __version__)] == 1
    assert found["process_open_fds",] > 0


def test_two_daemons_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.asset("abyssale", "published")
    assert not any(key[0] == "syncd_assets_total" for key in samples(other))
