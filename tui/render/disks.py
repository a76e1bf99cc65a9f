"""A VM's disks: what a plan does about each, and a lane for each that is being copied."""

from backend.model import DiskAction, DiskMove, DiskProgress, LayerMove, Migration, Sample
from tui.render import units
from tui.render.ink import Ink, Line, Span, Spans, cut, fit, spans_of, width_of

_LEFT = {
    DiskAction.SHARED: "shared: the same storage on both hosts, nothing is copied",
    DiskAction.SKIP: "not copied: read-only or empty, the target uses its own",
    DiskAction.UNPROVEN: "left where it is: whether it is shared is not proven",
    DiskAction.STAYS: "stays where it is",
    DiskAction.NONE: "cannot be moved; the findings say why",
}
LOW = 30
"""Rows of a terminal on which there is room for few lanes."""
FEW, MANY = 2, 6
BAR = 12
NAME = 6


def disk_words(disk: DiskMove, target: str) -> list[str]:
    """From where to where, sizes and room; then how it is verified."""
    if disk.action is not DiskAction.COPY:
        where = f"  {disk.source}" if disk.source else ""
        return [f"{_LEFT[disk.action]}{where}"]
    size = f"{units.size(disk.allocated_bytes)} of {units.size(disk.virtual_bytes)}"
    if disk.destination is None:
        return [f"copy {size} ({disk.format}) from {disk.source}: no place yet"]
    room = f"{units.size(disk.room_bytes)} free in pool {disk.pool}"
    takes = f"; {units.band_s(disk.takes_s)}" if disk.takes_s else ""
    way = f"from {disk.source} to {disk.destination} on {target}"
    return [
        f"copy {size} ({disk.format}) {way}; {room}{takes}",
        *(_layer_words(layer, target) for layer in disk.layers),
        f"verified by {disk.verified_by}",
    ]


def _layer_words(layer: LayerMove, target: str) -> str:
    if layer.stays:
        return f"below it: {layer.source}, which stays there"
    if layer.found:
        return f"below it: {layer.source}; {layer.destination} is on {target} already"
    size = units.size(layer.allocated_bytes)
    return f"below it: copy {size} ({layer.format}) from {layer.source} to {layer.destination}"


def disk_ink(disk: DiskMove) -> Ink:
    """What is done stands out from what is not."""
    return Ink.TEXT if disk.action is DiskAction.COPY else Ink.DIM


def disks_further(disks: tuple[DiskProgress, ...], sample: Sample) -> str:
    """`disks  vda 61%  39 M left  23.8 MB/s`, for a line of text."""
    each = "  ".join(f"{disk.target} {int(disk.progress * 100)}%" for disk in disks)
    left = f"{units.size(sample.disk_remaining_bytes)} left"
    return f"disks  {each}  {left}  copies {units.rate(sample.rate_bytes_s)}".replace("    ", "  ")


def disk_lanes(m: Migration, width: int, height: int) -> list[Line]:
    """A lane a disk; of many, the ones that have the most left."""
    most = FEW if height < LOW else MANY
    moves = {move.target: move for move in m.moves if move.action is DiskAction.COPY}
    known = {disk.target: disk for disk in m.disks}
    disks = [known.get(name, DiskProgress(name)) for name in moves]
    shown = disks
    if len(disks) > most:
        slowest = {one.target for one in sorted(disks, key=lambda one: one.progress)[: most - 1]}
        shown = [one for one in disks if one.target in slowest]
    lines = [_lane(disk, moves[disk.target], width) for disk in shown]
    hidden = len(disks) - len(shown)
    return [*lines, Line(spans_of((f" and {hidden} more", Ink.DIM)))] if hidden else lines


def _lane(disk: DiskProgress, move: DiskMove, width: int) -> Line:
    full, empty = units.bar(disk.progress, BAR)
    bar: tuple[Span, ...] = ((full, Ink.MOVE), (empty, Ink.DIM))
    head = fit(spans_of((f" {disk.target}", Ink.BOLD)), NAME)
    spans = (*head, *bar, *spans_of(f" {int(disk.progress * 100):>3}%  "), *_figures(disk))
    to: Spans = spans_of((f"  → {move.pool}: {move.volume}", Ink.DIM))
    return Line(cut((*spans, *to), width) if width_of(spans) + 12 < width else cut(spans, width))


def _figures(disk: DiskProgress) -> Spans:
    """What is left, at which rate, for how long."""
    if disk.progress >= 1:
        done = f"{units.size(disk.total_bytes)} copied, every write follows"
        return spans_of(("✓ ", Ink.OK), (done, Ink.TEXT))
    if not disk.total_bytes:
        return spans_of(("not begun yet", Ink.DIM))
    left = disk.total_bytes - disk.done_bytes
    said = f"{units.size(disk.done_bytes)} of {units.size(disk.total_bytes)}"
    rate = disk.rate_bytes_s
    eta = f"  {units.duration(left / rate)}" if rate else ""
    return spans_of(f"{said}  {units.size(left)} left  {units.rate(rate)}{eta}")
