"""Which VM to which host: never two promises of one room, never a VM left that could have gone."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.model import Tags
from backend.plan import placement as placer
from backend.plan.placement import (
    HostRoom,
    PoolNeed,
    Question,
    Resident,
    VmNeed,
    choices,
    place,
    placement_cost,
)
from tests.unit.placing import GIB, Hosts, best_of_all, broken_rules, random_question

FLEETS = 1000


def hosts_of(question: Question) -> Hosts:
    return {one.vm: one.host for one in place(question).placed}


def left_behind(hosts: Hosts) -> int:
    return sum(host is None for host in hosts.values())


def vm(name: str, gib: float = 1, tags: Tags | None = None, **more: object) -> VmNeed:
    one = VmNeed(name, name, "old", int(gib * GIB), tags=tags or Tags())
    return replace(one, **more)  # type: ignore[arg-type]


def room(name: str, free_gib: float = 16, **more: object) -> HostRoom:
    one = HostRoom(name, 32 * GIB, int(free_gib * GIB))
    return replace(one, **more)  # type: ignore[arg-type]


def test_it_is_as_good_as_trying_all_on_a_thousand_small_fleets() -> None:
    with_all, with_some = 0, 0
    for seed in range(FLEETS):
        question = random_question(seed)
        fewest, lowest = best_of_all(question)
        found = place(question)
        hosts = {one.vm: one.host for one in found.placed}
        assert broken_rules(question, hosts) == [], seed
        assert left_behind(hosts) == fewest, seed
        assert found.cost == pytest.approx(placement_cost(question, hosts)), seed
        assert found.cost <= 1.05 * lowest + 1e-6, seed
        assert found.proven, seed
        with_all, with_some = with_all + (fewest == 0), with_some + (fewest > 0)
    assert min(with_all, with_some) > 0.2 * FLEETS


def test_the_way_of_large_fleets_leaves_none_behind_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placer, "SEARCHED_UNITS", -1)
    monkeypatch.setattr(placer, "SEARCHED_AT_MOST", -1)
    dear = 0
    for seed in range(FLEETS):
        question = random_question(seed)
        fewest, lowest = best_of_all(question)
        found = place(question)
        hosts = {one.vm: one.host for one in found.placed}
        assert broken_rules(question, hosts) == [], seed
        if fewest == 0:
            assert left_behind(hosts) == 0, seed
            dear += found.cost > 1.05 * lowest + 1
    assert dear <= 0.02 * FLEETS


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), vms=st.integers(1, 60), hosts=st.integers(1, 12))
def test_no_room_is_promised_twice_whatever_the_fleet(seed: int, vms: int, hosts: int) -> None:
    question = random_question(seed, vms, hosts)
    assert broken_rules(question, hosts_of(question)) == []


def test_the_same_question_has_the_same_answer() -> None:
    question = random_question(11, 60, 12)
    assert place(question) == place(question)


def test_a_full_fleet_is_packed_to_the_last_gibibyte() -> None:
    """Random sizes cut from whole hosts: a placement exists, and there is no room to spare."""
    dice = random.Random(5)
    sizes: list[int] = []
    for _ in range(20):
        left = 32
        while left:
            size = min(left, dice.choice((1, 2, 3, 4, 8, 12)))
            sizes.append(size)
            left -= size
    dice.shuffle(sizes)
    rooms = tuple(room(f"h{n}", 32) for n in range(20))
    vms = tuple(vm(f"v{n}", size) for n, size in enumerate(sizes))
    question = Question(vms, rooms, reserve_part=0.0)
    hosts = hosts_of(question)
    assert left_behind(hosts) == 0
    assert broken_rules(question, hosts) == []


def test_a_reserve_of_memory_stays_free() -> None:
    question = Question((vm("big", 15),), (room("a", 16),))
    assert place(question).placed[0].reason.startswith("a: 15.0 G of memory needed, 14.4 G left")
    assert hosts_of(replace(question, reserve_part=0.01)) == {"big": "a"}


def test_a_shut_off_vm_needs_no_memory() -> None:
    assert hosts_of(Question((vm("off", 0),), (room("a", 0),))) == {"off": "a"}


def test_the_load_is_spread_over_the_hosts() -> None:
    vms = tuple(vm(f"v{n}", 4) for n in range(6))
    hosts = hosts_of(Question(vms, (room("a", 30), room("b", 30), room("c", 30))))
    assert sorted(hosts.values(), key=str) == ["a", "a", "b", "b", "c", "c"]


def test_what_is_sent_is_spread_over_the_links() -> None:
    vms = tuple(vm(f"v{n}", 0.01, sent_bytes=GIB) for n in range(4))
    rooms = (room("a", link_bytes_s=25e6), room("b", link_bytes_s=25e6))
    hosts = hosts_of(Question(vms, rooms))
    assert sorted(hosts.values(), key=str) == ["a", "a", "b", "b"]


def test_a_busy_host_is_left_alone() -> None:
    rooms = (room("a", 20, cpus=8, cpus_used=7.0), room("b", 12, cpus=8, cpus_used=1.0))
    assert hosts_of(Question((vm("v", 4, cpus_used=2.0),), rooms)) == {"v": "b"}


def test_what_is_kept_together_goes_together_or_stays() -> None:
    shop = Tags(together=("shop",))
    pair = (vm("db", 8, shop), vm("web", 8, shop))
    apart = (room("a", 10), room("b", 10))
    assert hosts_of(Question(pair, apart)) == {"db": None, "web": None}
    assert hosts_of(Question(pair, (*apart, room("c", 20)))) == {"db": "c", "web": "c"}
    fixed = (pair[0], replace(pair[1], tags=replace(shop, never=True)))
    told = place(Question(fixed, (room("c", 20),))).placed
    assert [one.host for one in told] == [None, None]
    assert told[0].reason == "web, which its group keeps together, is never moved"


def test_a_group_goes_where_its_others_are() -> None:
    tags = Tags(together=("shop",))
    rooms = (room("a", 30), room("b", 10))
    there = Resident("cache", "b", tags)
    assert hosts_of(Question((vm("web", 4, tags),), rooms, (there,))) == {"web": "b"}
    stays = Resident("cache", "old", tags)
    told = place(Question((vm("web", 4, tags),), rooms, (stays,))).placed[0]
    assert told.reason == "group shop keeps it with cache, which stays on old"


def test_what_is_kept_apart_never_shares_a_host() -> None:
    dns = Tags(apart=("dns",))
    vms = (vm("ns-1", 1, dns), vm("ns-2", 1, dns))
    hosts = hosts_of(Question(vms, (room("a", 30), room("b", 4))))
    assert set(hosts.values()) == {"a", "b"}
    there = (Resident("ns-3", "b", dns),)
    told = place(Question(vms, (room("a", 30), room("b", 4)), there)).placed
    assert sorted(str(one.host) for one in told) == ["None", "a"]
    left = next(one for one in told if one.host is None)
    assert "kept apart" in left.reason
    assert "(group dns)" in left.reason


@pytest.mark.parametrize(
    ("tags", "residents"),
    [
        (Tags(prefer=("b",)), ()),
        (Tags(together_soft=("g",)), (Resident("x", "b", Tags(together_soft=("g",))),)),
        (Tags(apart_soft=("g",)), (Resident("x", "a", Tags(apart_soft=("g",))),)),
    ],
)
def test_a_wish_is_kept_where_it_costs_little_and_given_up_where_it_must(
    tags: Tags, residents: tuple[Resident, ...]
) -> None:
    one = vm("v", 4, tags)
    assert hosts_of(Question((one,), (room("a", 20), room("b", 16)), residents)) == {"v": "b"}
    assert hosts_of(Question((one,), (room("a", 20), room("b", 1)), residents)) == {"v": "a"}


def test_pools_and_file_names_are_reserved() -> None:
    vms = (vm("one"), vm("two"))
    needs = {
        (one.id, host): (PoolNeed("default", 6 * GIB, "/images/disk.qcow2"),)
        for one in vms
        for host in ("a", "b")
    }
    rooms = (room("a", 30, pools={"default": 20 * GIB}), room("b", 4, pools={"default": 8 * GIB}))
    assert set(hosts_of(Question(vms, rooms, pool_needs=needs)).values()) == {"a", "b"}
    other = {pair: (replace(need[0], path=f"/images/{pair[0]}"),) for pair, need in needs.items()}
    small = (room("a", 30, pools={"default": 7 * GIB}),)
    told = place(Question(vms, small, pool_needs=other)).placed
    assert sorted(str(one.host) for one in told) == ["None", "a"]
    left = next(one for one in told if one.host is None)
    assert left.reason == "a: no room for its disks beside the others (pool default)"


def test_each_reason_is_told() -> None:
    vms = (vm("fixed", 1, Tags(never=True)), vm("new-cpu", 1))
    blocked = {("new-cpu", "a"): "a lacks avx512f."}
    rooms = (room("a"), room("b", closed="b is in maintenance"))
    told = {one.vm: one.reason for one in place(Question(vms, rooms, (), blocked)).placed}
    assert told["fixed"] == "its tag says that it is never moved"
    assert told["new-cpu"] == "a: a lacks avx512f; b is in maintenance"
    good = place(Question((vm("v", 4),), (room("a", 16, cpus=8, cpus_used=2.0),))).placed[0]
    assert good.reason == "12.0 G of 32.0 G stay free on a, its CPUs 25 % busy"


def test_why_this_host_and_not_another_is_told_by_parts() -> None:
    vms = (vm("v", 4, Tags(prefer=("b",))), vm("w", 8))
    question = Question(vms, (room("a", 20), room("b", 16), room("c", 2), room("old", 30)))
    found = choices(question, hosts_of(question), "v")
    assert [one.host for one in found] == ["b", "a", "c", "old"]
    assert found[0].cost is not None
    assert found[0].cost == pytest.approx(sum(part.cost for part in found[0].parts))
    assert [part.name for part in found[1].parts] == ["memory", "prefer"]
    assert "preferred: b" in [part.sentence for part in found[1].parts]
    assert found[2].reason.startswith("c: 4.0 G of memory needed")
    assert found[3].reason == "it is there now"


def test_more_vms_go_before_larger_ones() -> None:
    vms = (vm("big", 8), *(vm(f"v{n}", 2) for n in range(4)))
    told = hosts_of(Question(vms, (room("a", 9.7),)))
    assert [name for name, host in told.items() if host is None] == ["big"]
