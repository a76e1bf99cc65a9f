"""A fleet file's own policies: what they may say, and what is refused by name."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadInput
from backend.model import MoveOptions, Policy
from backend.plan.own_policies import KEYS, own_policies
from backend.plan.policy import BUILT_IN, all_policies, deadline_s, policy_for

PATH = Path("/etc/fleet.toml")
KNOWN = {policy.name: policy for policy in BUILT_IN}


def read(text: str) -> tuple[Policy, ...]:
    return own_policies(tomllib.loads(text).get("policies"), KNOWN, PATH)


def refused(tables: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        own_policies(tables, KNOWN, PATH)
    assert caught.value.exit_code == 2
    assert str(PATH) in caught.value.sentence
    return caught.value


def test_what_is_not_said_comes_from_the_base() -> None:
    (night,) = read('[policies.night]\nbase = "must-finish"\npause_ms = 1000\nabout = "Dark."')
    assert night.name == "night"
    assert night.pause_ms == 1000
    assert night.post_copy
    assert night.about == "Dark."


def test_without_a_base_it_is_balanced() -> None:
    (night,) = read("[policies.night]\ndeadline_s = 3600")
    assert night.throttle_percent == KNOWN["balanced"].throttle_percent
    assert night.deadline_s == 3600
    assert deadline_s(night, 2**30) == KNOWN["balanced"].deadline_s_per_gib


def test_a_base_may_stand_above_but_not_below() -> None:
    day, night = read('[policies.day]\npause_ms = 50\n[policies.night]\nbase = "day"')
    assert night.pause_ms == day.pause_ms == 50
    error = refused({"night": {"base": "day"}, "day": {}})
    assert "policies.night.base" in error.sentence
    assert "balanced" in error.remedy


def test_an_own_one_replaces_the_built_in_of_its_name() -> None:
    own = read("[policies.balanced]\npause_ms = 80")
    named = all_policies(own)
    assert len(named) == len(BUILT_IN)
    assert policy_for(MoveOptions(), own).pause_ms == 80
    assert policy_for(MoveOptions(policy="balanced"), own).pause_ms == 80


def test_a_vm_names_its_policy_and_the_operator_wins() -> None:
    own = read("[policies.night]\npause_ms = 1000")
    assert policy_for(MoveOptions(), own, "night").name == "night"
    assert policy_for(MoveOptions(policy="gentle"), own, "night").name == "gentle"
    assert policy_for(MoveOptions(), own, "no such").name == "balanced"
    changed = policy_for(MoveOptions(pause_ms=70, deadline_s=9), own, "night")
    assert (changed.pause_ms, deadline_s(changed, 64 * 2**30)) == (70, 9)


def test_none_at_all() -> None:
    assert own_policies(None, KNOWN, None) == ()
    assert read("") == ()


BAD: dict[str, tuple[object, ...]] = {
    "pause_ms": (0, -1, 2_000_001, 1.5, "100", True, [1]),
    "throttle_percent": (-1, 91, 99, 50.0, "50", False),
    "streams": (0, 17, 1.0, "2", True),
    "deadline_s": (0, -5, 604_801, "1h", True, float("nan"), float("inf")),
    "deadline_s_per_gib": (0.5, -1, "x", False, float("nan")),
    "post_copy": (1, 0, "true", []),
    "suspend": (1, "no", {}),
    "compression": (0, "yes"),
    "about": (1, "two\nlines", "x" * 201, "\x1b[31mred", True),
    "base": ("no such", 1, True, "night"),
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in BAD.items() for v in vs])
def test_each_bad_value_is_refused_with_its_key(key: str, value: object) -> None:
    error = refused({"night": {key: value}})
    assert f"policies.night.{key}" in error.sentence


@pytest.mark.parametrize("base", [[], {}, ["balanced"]])
def test_a_base_that_is_no_name(base: object) -> None:
    assert "policies.night.base" in refused({"night": {"base": base}}).sentence


def test_every_key_is_covered_here() -> None:
    assert set(BAD) == set(KEYS)


def test_an_unknown_key_is_named_with_those_there_are() -> None:
    error = refused({"night": {"pause": 100}})
    assert "pause" in error.sentence
    assert "pause_ms" in error.remedy


@pytest.mark.parametrize("name", ["", "Night", "a b", "-x", "x" * 41, "ü", "a\x1bb", "a\n"])
def test_a_name_that_is_none(name: str) -> None:
    assert "is not a policy's name" in refused({name: {}}).sentence


@pytest.mark.parametrize("tables", [[], "x", 3, {"night": 3}, {"night": []}])
def test_what_is_no_table(tables: object) -> None:
    assert "table" in refused(tables).sentence
