"""How long copies of disks take by forecast: each of them, and all."""

from dataclasses import replace

from backend.model import Band, DiskAction, DiskMove
from backend.plan.disk_time import each_timed, here_forecast, idle_forecast, timed_here
from backend.run.links import Links
from tui.render.disks import disk_words

GIB, MIB = 2**30, 2**20
VDA = DiskMove("vda", DiskAction.COPY, virtual_bytes=10 * GIB, allocated_bytes=GIB)
VDB = replace(VDA, target="vdb", allocated_bytes=3 * GIB)
CD = DiskMove("sda", DiskAction.SKIP)
LINK = Band(90e6, 100e6, 110e6)


def mid(move: DiskMove) -> float:
    assert move.takes_s is not None
    return move.takes_s.mid


def test_mirrors_share_the_link_and_end_together() -> None:
    vda, vdb, cd = each_timed((VDA, VDB, CD), LINK, idle=False)
    assert vda.takes_s == vdb.takes_s
    assert 40 < mid(vda) < 50
    assert cd.takes_s is None


def test_images_of_a_vm_that_is_off_go_one_by_one() -> None:
    vda, vdb = each_timed((VDA, VDB), LINK, idle=True)
    whole = idle_forecast(4 * GIB, LINK).total_s
    assert whole is not None
    assert mid(vda) < mid(vdb) < whole.mid
    assert each_timed((VDA,), None, idle=True) == (VDA,)


def test_between_pools_it_rests_on_the_copy_before() -> None:
    guessed = timed_here((VDA, VDB, CD), False, None, None)
    seen = timed_here((VDA, VDB, CD), False, 200e6, None)
    assert 5 < mid(seen[0]) < 7
    forecast = here_forecast(seen, seen=True)
    assert forecast.total_s is not None
    assert forecast.total_s.mid == mid(seen[0]) + mid(seen[1])
    assert forecast.sent_bytes == 4 * GIB
    assert "copy before" in forecast.basis
    guess = here_forecast(guessed, seen=False)
    assert guess.total_s is not None
    assert guess.total_s.low < forecast.total_s.low < forecast.total_s.high < guess.total_s.high
    assert "guess" in guess.basis


def test_a_limit_counts_holes_under_a_vm_that_runs() -> None:
    (running,) = timed_here((VDA,), False, 200e6, 50_000_000)
    (idle,) = timed_here((VDA,), True, 200e6, 50_000_000)
    assert mid(running) > 10 * GIB / 50e6
    assert mid(idle) < 0.3 * mid(running)


def test_what_a_host_got_through_is_remembered_apart_from_its_links() -> None:
    links = Links(lambda: 1000.0)
    links.learn("kvm-a", "kvm-b", 25e6, encrypted=True)
    assert links.here("kvm-a") is None
    links.learn_here("kvm-a", 300e6)
    assert links.here("kvm-a") == 300e6
    assert links.here("kvm-b") is None


def test_the_plan_says_how_long_each_disk_takes() -> None:
    placed = replace(VDA, source="/a", destination="/b", pool="fast", room_bytes=GIB)
    (timed,) = timed_here((placed,), False, 200e6, None)
    assert " s" in disk_words(timed, "kvm-a")[0].split(";")[-1]
    assert disk_words(placed, "kvm-a")[0].endswith("in pool fast")
