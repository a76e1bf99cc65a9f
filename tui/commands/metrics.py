"""What `run --metrics PORT` tells a Prometheus server: fed with what the engine publishes.

Served on loopback only: names of hosts are nobody else's. Counters begin at zero with the process.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.model import Band, FleetSnapshot, Host, HostState, Migration, Mode, Outcome, Verdict
from backend.service.client import BadInput, fold
from backend.service.protocol import Change, FleetChanged, MigrationChanged, SampleArrived

LOOPBACK = "127.0.0.1"
PAUSE_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
RATIO_BUCKETS = (0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)


class Metrics:
    """Of one fleet. `observe` every change; `serve` while they are to be had."""

    def __init__(self, since: float | None = None) -> None:
        """`since`: epoch seconds; what ended before is not counted. None: from now on."""
        self._since = time.time() if since is None else since
        self._registry = CollectorRegistry()
        self._now = _Now()
        self._registry.register(self._now)
        self._ended = self._counter(
            "virt_ferry_migrations",
            "Migrations (attempts) that ended, when it is known how.",
            ("outcome", "mode"),
        )
        self._sent = self._counter(
            "virt_ferry_migration_sent_bytes",
            "Bytes of memory and disks that migrations sent, by the host that they left.",
            ("host",),
        )
        self._pauses = self._histogram(
            "virt_ferry_migration_pause_seconds",
            "How long a VM stood still for its migration.",
            PAUSE_BUCKETS_S,
        )
        self._times = self._histogram(
            "virt_ferry_forecast_time_error_ratio",
            "Total time of what moved, measured by forecast: 1 is exact, 2 took twice as long.",
            RATIO_BUCKETS,
        )
        self._foreseen_pauses = self._histogram(
            "virt_ferry_forecast_pause_error_ratio",
            "Pause of what moved, measured by forecast: 1 is exact, 2 took twice as long.",
            RATIO_BUCKETS,
        )
        self._counted: set[str] = set()
        """Ids of migrations whose end is counted."""
        self._sent_so_far: dict[str, int] = {}

    def observe(self, published: Change) -> None:
        """One change that the engine published."""
        match published:
            case FleetChanged():
                self._now.fleet = fold(self._now.fleet, published)
                self._now.engine_up = True
            case MigrationChanged(migration=migration):
                self._migration(migration)
            case SampleArrived(id=key, sample=sample) if key in self._now.running:
                self._sends(self._now.running[key], sample.sent_bytes)

    def engine_gone(self) -> None:
        """Nothing is known of hosts and migrations until an engine publishes again."""
        self._now.fleet = FleetSnapshot()
        self._now.running.clear()
        self._now.unclear.clear()
        self._now.engine_up = False

    @contextmanager
    def serve(self, port: int) -> Iterator[None]:
        """Answer on `http://127.0.0.1:PORT/metrics` meanwhile. Raises BadInput."""
        if not 0 < port < 65536:
            raise BadInput(f"--metrics: {port} is not a port.", "Name one from 1 to 65535.")
        try:
            server, thread = start_http_server(port, LOOPBACK, self._registry)
        except OSError as error:
            raise BadInput(
                f"--metrics: port {port} on {LOOPBACK} cannot be had: {error.strerror}.",
                "Name another one, or end what uses it (`ss -ltnp` shows it).",
            ) from None
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _migration(self, migration: Migration) -> None:
        key, verdict = migration.id, migration.verdict
        if key in self._counted:
            return
        self._now.unclear.discard(key)
        if verdict is None:
            self._now.running[key] = migration
            sent = migration.sample.sent_bytes if migration.sample else 0
            if migration.started < self._since:
                self._sent_so_far.setdefault(key, sent)
            self._sends(migration, sent)
            return
        self._now.running.pop(key, None)
        if _unclear(verdict):
            self._now.unclear.add(key)
        elif migration.started + verdict.wall_s >= self._since:
            self._counted.add(key)
            self._count(migration, verdict)

    def _sends(self, migration: Migration, sent_bytes: int) -> None:
        more = sent_bytes - self._sent_so_far.get(migration.id, 0)
        if more > 0:
            self._sent.labels(migration.source).inc(more)
            self._sent_so_far[migration.id] = sent_bytes

    def _count(self, migration: Migration, verdict: Verdict) -> None:
        mode = migration.mode.value
        self._ended.labels(verdict.outcome.value, mode).inc()
        self._sends(migration, verdict.sent_bytes)
        self._sent_so_far.pop(migration.id, None)
        if verdict.pause_ms is not None:
            self._pauses.labels(mode).observe(verdict.pause_ms / 1000)
        forecast = verdict.forecast or migration.forecast
        if forecast is not None and verdict.outcome is Outcome.MOVED:
            _compare(self._times, mode, verdict.total_s, forecast.total_s)
            _compare(self._foreseen_pauses, mode, verdict.pause_ms, forecast.pause_ms)

    def _counter(self, name: str, about: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, about, ("mode",), buckets=buckets, registry=self._registry)


def _unclear(verdict: Verdict) -> bool:
    """The engine still asks the hosts: another verdict may follow."""
    return verdict.outcome is Outcome.UNKNOWN and verdict.owner is None


def _compare(into: Histogram, mode: str, measured: float | None, foreseen: Band | None) -> None:
    if measured is not None and foreseen is not None and foreseen.mid > 0:
        into.labels(mode).observe(measured / foreseen.mid)


class _Now(Collector):
    """What is so at the moment of the question. A figure that is not known is left out.

    Asked by the server's threads, written by the event loop: each field is replaced whole, or
    copied in one step before it is looked at.
    """

    def __init__(self) -> None:
        self.fleet = FleetSnapshot()
        self.running: dict[str, Migration] = {}
        self.unclear: set[str] = set()
        self.engine_up = False

    def collect(self) -> Iterable[Metric]:
        """All gauges."""
        yield GaugeMetricFamily(
            "virt_ferry_engine_up", "1 while the engine tells what happens.", self.engine_up
        )
        yield GaugeMetricFamily(
            "virt_ferry_migrations_unclear",
            "Ended migrations of which it is not yet known where their VM runs.",
            len(self.unclear),
        )
        yield self._migrations()
        for name, about, figure in _OF_HOSTS:
            family = GaugeMetricFamily(f"virt_ferry_host_{name}", about, labels=("host",))
            for host in self.fleet.hosts:
                value = figure(host)
                if value is not None:
                    family.add_metric((host.name,), value)
            yield family

    def _migrations(self) -> Metric:
        family = GaugeMetricFamily(
            "virt_ferry_migrations_running",
            "Migrations without a verdict, by the host that they leave.",
            labels=("host", "mode"),
        )
        found = {(host.name, Mode.LIVE.value): 0 for host in self.fleet.hosts}
        for one in tuple(self.running.values()):
            key = (one.source, one.mode.value)
            found[key] = found.get(key, 0) + 1
        for labels, count in found.items():
            family.add_metric(labels, count)
        return family


def _part(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


_OF_HOSTS: tuple[tuple[str, str, Callable[[Host], float | None]], ...] = (
    ("up", "1 while the host answers.", lambda host: host.state is HostState.UP),
    ("maintenance", "1 while it takes no VM.", lambda host: host.maintenance_since is not None),
    ("cpu_ratio", "Load of all its CPUs, 0 to 1.", lambda host: _part(host.cpu_percent)),
    ("memory_bytes", "Its memory.", lambda host: host.memory_bytes),
    ("memory_used_bytes", "Caches counted as free.", lambda host: host.memory_used_bytes),
    (
        "link_out_bytes_per_second",
        "What its network cards send.",
        lambda host: host.link_out_bytes_s,
    ),
    (
        "link_in_bytes_per_second",
        "What its network cards receive.",
        lambda host: host.link_in_bytes_s,
    ),
)
"""Figures of a host; None: not known."""
