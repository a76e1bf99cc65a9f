"""What a Prometheus server reads of recorded migrations, over HTTP."""

import socket
import urllib.request
from collections.abc import Iterable
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.model import HostState, Migration, Outcome
from backend.service.client import BadInput
from backend.service.protocol import Change, FleetChanged, MigrationChanged, SampleArrived
from tests.console.recorded import load
from tui import recording
from tui.commands.metrics import LOOPBACK, Metrics

BEFORE_ALL = 0.0
Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def changes(name: str) -> list[Change]:
    return [entry.change for entry in load(name) if entry.change is not None]


def read(metrics: Metrics, port: int) -> Read:
    with metrics.serve(port):
        return scraped(port)


def scraped(port: int) -> Read:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def observed(published: Iterable[Change], since: float = BEFORE_ALL) -> Metrics:
    metrics = Metrics(since)
    for change in published:
        metrics.observe(change)
    return metrics


def of(found: Read, name: str, **labels: str) -> float | None:
    return found.get((f"virt_ferry_{name}", tuple(sorted(labels.items()))))


def ended(published: Iterable[Change]) -> list[Migration]:
    last = {c.migration.id: c.migration for c in published if isinstance(c, MigrationChanged)}
    return [migration for migration in last.values() if migration.verdict is not None]


def test_every_recorded_migration_is_counted_by_its_outcome(port: int) -> None:
    published = changes("two-at-once")
    found = read(observed(published), port)
    verdicts = [migration.verdict for migration in ended(published)]
    assert len(verdicts) == 6
    assert of(found, "migrations_total", outcome="moved", mode="live") == 5
    assert of(found, "migrations_total", outcome="stayed", mode="live") == 1
    sent = sum(verdict.sent_bytes for verdict in verdicts if verdict)
    counted = [v for (name, _), v in found.items() if name.endswith("sent_bytes_total")]
    assert sum(counted) == sent
    pauses = [v.pause_ms / 1000 for v in verdicts if v and v.pause_ms is not None]
    assert of(found, "migration_pause_seconds_count", mode="live") == len(pauses)
    assert of(found, "migration_pause_seconds_sum", mode="live") == pytest.approx(sum(pauses))
    quick = sum(pause <= 0.5 for pause in pauses)
    assert of(found, "migration_pause_seconds_bucket", mode="live", le="0.5") == quick
    assert all(v == 0 for (name, _), v in found.items() if name.endswith("migrations_running"))


def test_what_is_published_again_is_counted_once(port: int) -> None:
    published = changes("web")
    again = [MigrationChanged(migration) for migration in ended(published)]
    once, twice = observed(published), observed([*published, *again, *published])
    assert read(once, port) == read(twice, port)


def test_one_that_runs_is_shown_with_what_it_sent_so_far(port: int) -> None:
    published = changes("web")
    half: list[Change] = []
    for change in published:
        half.append(change)
        if isinstance(change, SampleArrived) and change.sample.sent_bytes > 50_000_000:
            break
    last = half[-1]
    assert isinstance(last, SampleArrived)
    moving = next(c.migration for c in half if isinstance(c, MigrationChanged))
    found = read(observed(half), port)
    assert of(found, "migrations_running", host=moving.source, mode="live") == 1
    sent = of(found, "migration_sent_bytes_total", host=moving.source)
    assert sent == last.sample.sent_bytes
    assert of(found, "migrations_total", outcome="moved", mode="live") is None


def test_what_ended_before_is_not_counted_and_what_was_sent_before_neither(port: int) -> None:
    published = changes("web")
    (migration,) = ended(published)
    assert migration.verdict is not None
    late = migration.started + migration.verdict.wall_s + 1
    found = read(observed([MigrationChanged(migration)], since=late), port)
    assert of(found, "migrations_total", outcome="moved", mode="live") is None
    running = [
        c for c in published if isinstance(c, MigrationChanged) and c.migration.verdict is None
    ]
    first = next(c for c in running if c.migration.sample and c.migration.sample.sent_bytes > 1e7)
    assert first.migration.sample is not None
    begins = published.index(first)
    middle = migration.started + 3
    found = read(observed(published[begins:], since=middle), port)
    rest = migration.verdict.sent_bytes - first.migration.sample.sent_bytes
    assert of(found, "migration_sent_bytes_total", host=migration.source) == rest
    assert of(found, "migrations_total", outcome="moved", mode="live") == 1


def test_forecasts_are_set_against_what_happened(port: int) -> None:
    recorded = recording.read(recording.SHIPPED)
    metrics = observed(MigrationChanged(one.migration) for one in recorded)
    found = read(metrics, port)
    ratios = []
    for one in recorded:
        verdict = one.migration.verdict
        assert verdict is not None
        assert verdict.forecast is not None
        if verdict.outcome is Outcome.MOVED and verdict.forecast.total_s is not None:
            ratios.append(verdict.total_s / verdict.forecast.total_s.mid)
    assert ratios
    assert of(found, "forecast_time_error_ratio_count", mode="live") == len(ratios)
    assert of(found, "forecast_time_error_ratio_sum", mode="live") == pytest.approx(sum(ratios))
    assert of(found, "forecast_pause_error_ratio_count", mode="live") == len(ratios)


def test_hosts_are_told_as_they_were_last_seen(port: int) -> None:
    published = changes("host-cut")
    whole = published[0]
    assert isinstance(whole, FleetChanged)
    first = whole.hosts[0]
    found = read(observed([whole]), port)
    assert of(found, "host_up", host="kvm-a") == 1
    assert first.cpu_percent is not None
    assert of(found, "host_cpu_ratio", host="kvm-a") == pytest.approx(first.cpu_percent / 100)
    assert of(found, "host_memory_bytes", host="kvm-a") == first.memory_bytes
    assert of(found, "host_memory_used_bytes", host="kvm-a") == first.memory_used_bytes
    assert of(found, "host_link_out_bytes_per_second", host="kvm-a") == first.link_out_bytes_s
    assert of(found, "host_link_in_bytes_per_second", host="kvm-a") == first.link_in_bytes_s
    cut = [
        (index, host)
        for index, change in enumerate(published)
        if isinstance(change, FleetChanged)
        for host in change.hosts
        if host.state is HostState.UNREACHABLE
    ]
    index, gone = cut[0]
    found = read(observed(published[: index + 1]), port)
    assert of(found, "host_up", host=gone.name) == 0
    assert of(found, "host_cpu_ratio", host=gone.name) is None, "not known is not zero"


def test_nothing_is_said_of_hosts_while_there_is_no_engine(port: int) -> None:
    metrics = observed(changes("web"))
    metrics.engine_gone()
    found = read(metrics, port)
    assert of(found, "engine_up") == 0
    assert not [name for name, _ in found if name.startswith("virt_ferry_host_")]
    assert of(found, "migrations_total", outcome="moved", mode="live") == 1


def test_a_verdict_that_is_not_known_yet_is_counted_when_it_is(port: int) -> None:
    (migration,) = ended(changes("web"))
    assert migration.verdict is not None
    unknown = replace(migration.verdict, outcome=Outcome.UNKNOWN, owner=None)
    metrics = observed([MigrationChanged(replace(migration, verdict=unknown))])
    found = read(metrics, port)
    assert of(found, "migrations_unclear") == 1
    assert of(found, "migrations_total", outcome="unknown", mode="live") is None
    metrics.observe(MigrationChanged(migration))
    found = read(metrics, port)
    assert of(found, "migrations_unclear") == 0
    assert of(found, "migrations_total", outcome="moved", mode="live") == 1


def test_two_of_them_share_no_registry_and_have_few_labels(port: int) -> None:
    observed(changes("web"))
    found = read(Metrics(), port)
    assert all(value == 0 for value in found.values())
    labels = {label for _, pairs in read(observed(changes("two-at-once")), port) for label in pairs}
    assert {name for name, _ in labels} == {"host", "mode", "outcome", "le"}


def test_only_this_machine_can_ask(port: int) -> None:
    with Metrics().serve(port):
        assert scraped(port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=2)
    with pytest.raises(OSError, match="refused"):
        scraped(port)


def test_a_port_that_cannot_be_had_is_a_sentence(port: int) -> None:
    with (
        Metrics().serve(port),
        pytest.raises(BadInput, match=f"port {port}") as taken,
        Metrics().serve(port),
    ):
        pass
    assert taken.value.exit_code == 2
    for bad in (0, -1, 65536):
        with pytest.raises(BadInput, match="not a port"), Metrics().serve(bad):
            pass
