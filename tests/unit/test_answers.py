"""What the engine answers, where that is more than passing it on."""

from typing import Any, cast

from backend.model import Migration
from backend.plan.policy import BALANCED
from backend.service.answers import answer
from backend.service.protocol import ListMigrations, MigrationsReply


class Knows:
    """An engine that knows these migrations, in the order in which they began."""

    def __init__(self, **started: float) -> None:
        self._states = tuple(
            Migration(id, "db-1", "u-1", "kvm-a", "kvm-b", at, BALANCED)
            for id, at in started.items()
        )

    async def opened(self) -> None: ...

    def migrations(self, *, running_only: bool) -> tuple[Migration, ...]:
        return self._states


async def listed(own: Knows, *others: Knows) -> list[str]:
    reply = await answer(cast("Any", own), cast("Any", others), ListMigrations())
    assert isinstance(reply, MigrationsReply)
    return [one.id for one in reply.migrations]


async def test_migrations_come_as_they_began_whatever_the_clock_did() -> None:
    jumped = Knows(a=1000.0, b=4600.0, c=1010.0)
    assert await listed(jumped) == ["a", "b", "c"]
    both = await listed(jumped, Knows(x=1005.0))
    assert both == ["a", "x", "b", "c"]
