"""The images that one disk is copied as: its own, and below it those of its chain. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backend.model import DiskMove, LayerMove


@dataclass(frozen=True, slots=True)
class OneImage:
    """One file of one disk."""

    disk: str
    source: str
    format: str
    pool: str
    volume: str
    destination: str
    length_bytes: int
    virtual_bytes: int
    allocated_bytes: int
    flattened: bool = False
    found: bool = False
    """It is there already, and only compared."""
    below: tuple[str, str] | None = None
    """Path and format of the image it is to be put on; None: it names that one rightly, or none."""
    top: bool = False
    """The guest sees the chain through it."""

    @property
    def copy_format(self) -> str:
        """Of the copy."""
        return "qcow2" if self.flattened else self.format

    @property
    def label(self) -> str:
        """In sentences."""
        return self.disk if self.top else f"{self.disk}, {self.source} below it"


def images_of(move: DiskMove) -> tuple[OneImage, ...]:
    """All that has to be copied or compared, the lowest first: each lies on one that is there."""
    return (*reversed(tuple(_below(move))), _own(move))


def _own(move: DiskMove) -> OneImage:
    return OneImage(
        disk=move.target,
        source=move.source,
        format=move.format,
        pool=move.pool or "",
        volume=move.volume or "",
        destination=move.destination or "",
        length_bytes=move.length_bytes or 0,
        virtual_bytes=move.virtual_bytes or 0,
        allocated_bytes=move.allocated_bytes or 0,
        flattened=move.flattened,
        below=_put_on(move.layers[:1]),
        top=True,
    )


def _below(move: DiskMove) -> Iterator[OneImage]:
    for number, layer in enumerate(move.layers):
        if not layer.stays:
            yield OneImage(
                disk=move.target,
                source=layer.source,
                format=layer.format,
                pool=move.pool or "",
                volume=layer.volume,
                destination=layer.destination,
                length_bytes=layer.length_bytes or 0,
                virtual_bytes=layer.virtual_bytes or 0,
                allocated_bytes=layer.allocated_bytes or 0,
                found=layer.found,
                below=_put_on(move.layers[number + 1 : number + 2]),
            )


def _put_on(layer: tuple[LayerMove, ...]) -> tuple[str, str] | None:
    wrong = next((one for one in layer if one.reference != one.destination), None)
    return (wrong.destination, wrong.format) if wrong else None
