"""A figure with its uncertainty."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """A figure that is not known exactly."""

    low: float
    mid: float
    high: float
