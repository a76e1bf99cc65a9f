"""Policies as data, and what is refused."""

import pytest

from backend.errors import BadInput
from backend.model import MoveOptions, Policy
from backend.plan.policy import PAUSE_MS_MAX, policy_for


def policy_named(name: str | None = None, pause_ms: int | None = None) -> Policy:
    return policy_for(MoveOptions(policy=name, pause_ms=pause_ms))


def test_balanced_is_the_default() -> None:
    assert policy_named() == policy_named("balanced")
    assert policy_named().pause_ms == 300
    assert policy_named().about.endswith(".")


def test_another_pause_limit() -> None:
    assert policy_named("balanced", 80).pause_ms == 80
    assert policy_named(None, PAUSE_MS_MAX).pause_ms == PAUSE_MS_MAX


def test_an_unknown_policy_names_those_there_are() -> None:
    with pytest.raises(BadInput) as caught:
        policy_named("brave")
    assert "'brave'" in caught.value.sentence
    assert "balanced" in caught.value.remedy


@pytest.mark.parametrize("pause_ms", [0, -1, PAUSE_MS_MAX + 1])
def test_a_pause_limit_qemu_would_refuse(pause_ms: int) -> None:
    with pytest.raises(BadInput) as caught:
        policy_named("balanced", pause_ms)
    assert "1 to 2,000,000 ms" in caught.value.remedy
