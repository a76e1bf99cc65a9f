"""What can be made ready at a target before a move, and how far that is."""

from dataclasses import dataclass
from enum import StrEnum


class PreparationKind(StrEnum):
    """What is done; host set-up (bridges, directories above a pool's) never is."""

    START_POOL = "start-pool"
    REFRESH_POOL = "refresh-pool"
    """libvirt looks again which volumes are in it."""
    CREATE_POOL = "create-pool"
    """A directory pool with the source's name and path."""
    START_NETWORK = "start-network"
    DEFINE_NETWORK = "define-network"
    """From the source's own definition of it, and started."""

    @property
    def of_a_pool(self) -> bool:
        """Else it is of a network."""
        return self.value.endswith("pool")


@dataclass(frozen=True, slots=True)
class Preparation:
    """One thing that is done at a target, if the operator confirms it."""

    kind: PreparationKind
    host: str
    name: str
    """Of the pool or network."""
    sentence: str
    """`start pool fast on kvm-b`."""
    path: str = ""
    """Of a pool."""
    xml: str = ""
    """The network's definition."""
    autostart: bool = False
    """As at the source, for what is made."""


class PreparedState(StrEnum):
    """How far one is."""

    INTENDED = "intended"
    """About to be done; whether it was is not known."""
    DONE = "done"
    FOUND = "found"
    """It was so already: nothing to undo."""
    UNDONE = "undone"
    REFUSED = "refused"
    """The target said no; nothing was changed."""
    KEPT = "kept"
    """Done, and another migration that relies on it looks after it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A preparation of one migration."""

    preparation: Preparation
    state: PreparedState = PreparedState.INTENDED
    mark: str = ""
    """What the target told of what was made, by which it is undone."""
