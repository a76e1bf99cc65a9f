"""An examination through the engine's door, on libvirt's test driver: no SSH, no QEMU, two names
of one and the same host."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.fleet import config
from backend.model import Grade
from backend.run.engine import Engine
from backend.service.answers import answer
from backend.service.hub import Hub
from backend.service.protocol import Examine, Examined, GetFleet

TWO = """
[hosts.one]
uri = "test:///default"
[hosts.two]
uri = "test:///default"
[hosts.dead]
uri = "qemu+unix:///system?socket=/no/such/socket"
"""


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    made = Engine(config.parse(TWO, Path("/fleet.toml")), Hub(), lambda: None, time.time)
    made.begin()
    yield made
    await made.close()


async def test_every_kind_of_check_is_told_and_nothing_stalls(engine: Engine) -> None:
    reply = await answer(engine, (), Examine())
    assert isinstance(reply, Examined)
    found = reply.examination
    assert found.took_s < 20
    kinds = list(dict.fromkeys(one.check for one in found.findings))
    assert kinds == [
        "vms", "jobs", "hosts", "limits", "volumes", "certificates", "names", "reach", "ports",
        "clocks", "versions",
    ]  # fmt: skip
    codes = {one.code: one for one in found.findings}
    assert codes["host-daemon-stopped"].hosts == ("dead",)
    assert codes["host-same-hostname"].hosts == ("one", "two")
    assert codes["host-no-ssh"].grade is Grade.REMARK
    assert codes["names-unknown"].sentence == "not examined: no host tells"


async def test_a_vm_on_both_names_is_an_alarm_in_the_fleet_too(engine: Engine) -> None:
    reply = await answer(engine, (), Examine())
    assert isinstance(reply, Examined)
    twice = next(one for one in reply.examination.findings if one.code == "vm-runs-twice")
    assert (twice.vm, twice.hosts) == ("test", ("one", "two"))
    assert reply.examination.worst is Grade.ALARM
    await answer(engine, (), GetFleet(settle_s=10))
    assert [one.vm for one in engine.fleet.alarms] == ["test"]
