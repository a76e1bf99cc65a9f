"""What every message between the engine and its clients is."""

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True):
    """Each message is told by its type's name."""
