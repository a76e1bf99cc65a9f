"""A QEMU that hangs: only its own VM is told of, and nobody waits for it twice."""

from backend.fleet.guests import Guests
from backend.fleet.silence import SILENT_S, Silence
from backend.hypervisor.domains import RawStats
from backend.model import Job

RUNNING, PAUSED, OFF = 1, 3, 5


def record(uuid: str, heard: bool = True, state: int = RUNNING) -> RawStats:
    """As libvirt gives it; without its QEMU the resident memory is missing."""
    raw = {"state.state": state, "vcpu.current": 1} | ({"balloon.rss": 4096} if heard else {})
    return RawStats(f"u-{uuid}", uuid, raw)


def guests(*looks: tuple[float, tuple[RawStats, ...]]) -> Guests:
    seen = Guests("kvm-a", {})
    for at_s, records in looks:
        seen.take_statistics(records, at_s)
    return seen


def troubles(seen: Guests) -> dict[str, str]:
    return {vm.name: vm.trouble for vm in seen.vms}


def test_one_that_hangs_is_told_and_the_others_are_as_ever() -> None:
    well = (1.0, (record("db-1"), record("web-1")))
    hung = (1.0 + SILENT_S, (record("db-1", heard=False), record("web-1")))
    told = troubles(guests(well, hung))
    assert "does not answer libvirt on kvm-a" in told["db-1"]
    assert told["web-1"] == ""


def test_for_a_moment_it_may_be_busy() -> None:
    well = (1.0, (record("db-1"),))
    busy = (SILENT_S, (record("db-1", heard=False),))
    assert troubles(guests(well, busy)) == {"db-1": ""}


def test_it_is_over_when_it_answers_again() -> None:
    looks = [(float(s), (record("db-1", heard=s in (1, 9)),)) for s in range(1, 10)]
    assert troubles(guests(*looks[:-1]))["db-1"]
    assert troubles(guests(*looks)) == {"db-1": ""}


def test_a_driver_that_asks_no_qemu_has_none_that_hang() -> None:
    looks = [(float(s), (record("db-1", heard=False),)) for s in range(20)]
    seen = guests(*looks)
    assert troubles(seen) == {"db-1": ""}
    assert seen.to_ask_for_jobs() == ("u-db-1",)


def test_a_vm_that_does_not_run_is_not_silent() -> None:
    looks = [
        (float(s), (record("db-1", heard=False, state=OFF), record("web-1"))) for s in range(20)
    ]
    assert troubles(guests(*looks)) == {"db-1": "", "web-1": ""}


def test_whoever_waits_for_it_once_does_not_ask_it_for_its_job() -> None:
    well = (1.0, (record("db-1"), record("web-1")))
    hung = (2.0, (record("db-1", heard=False), record("web-1")))
    assert guests(well, hung).to_ask_for_jobs() == ("u-web-1",)


def test_a_copy_that_comes_in_is_asked_and_is_not_silent() -> None:
    coming = record("db-1", heard=False, state=PAUSED)
    looks = [(float(s), (coming, record("web-1"))) for s in range(20)]
    seen = guests(*looks)
    assert "u-db-1" in seen.to_ask_for_jobs()
    seen.take_jobs({"u-db-1": Job("migration in")})
    assert troubles(seen) == {"db-1": "", "web-1": ""}


def test_a_call_that_got_stuck_at_one_is_told_at_once() -> None:
    seen = guests((1.0, (record("db-1"), record("web-1"))))
    seen.unheard(["u-db-1"])
    assert troubles(seen)["db-1"]
    assert seen.to_ask_for_jobs() == ("u-web-1",)


def test_states_alone_leave_the_other_figures_as_they_were() -> None:
    seen = guests((1.0, (record("db-1"), record("web-1"))))
    seen.take_states([record("db-1", heard=False, state=PAUSED), record("new", heard=False)])
    found = {vm.name: vm for vm in seen.vms}
    assert set(found) == {"db-1", "new"}, "who is not told of is gone"
    assert found["db-1"].state.value == "paused"
    assert found["db-1"].memory_used_bytes == 4096 * 1024
    assert troubles(seen) == {"db-1": "", "new": ""}
    assert "u-new" in seen.without_config()


def test_what_is_gone_is_forgotten() -> None:
    silence = Silence()
    for uuid in ("a", "b"):
        silence.see(uuid, True, 1.0)
    silence.stuck("a", 2.0)
    assert silence.lasting("a", 2.0)
    silence.keep(["b"])
    assert not silence.passed_by("a")
    silence.see("a", False, 30.0)
    assert not silence.lasting("a", 31.0), "another QEMU: it may just be starting"
