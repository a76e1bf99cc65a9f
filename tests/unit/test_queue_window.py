"""What would not end inside a window is not begun, and what waited behind it may."""

from backend.model import Band
from backend.plan.queue_types import LinkMap, QueuedMove, QueueState, Slot
from backend.plan.queue_window import ends_inside, fitted

MB = 10**6


def move(name: str, seconds: float, target: str = "b") -> QueuedMove:
    """Of a VM of which only its disk is sent, over 100 MB/s."""
    disk = int(max(seconds - 3, 1) * 100 * MB)
    return QueuedMove(
        name, name, "a", target, disk_bytes=disk, alone_s=Band(seconds, seconds, seconds)
    )


def queue(*moves: QueuedMove) -> QueueState:
    return QueueState(moves, links=LinkMap({("a", "b"): 100 * MB, ("a", "c"): 100 * MB}))


def names(state: QueueState) -> set[str]:
    return {one.id for one in state.waiting}


def test_all_go_where_there_is_time() -> None:
    kept, whole = fitted(queue(move("x", 60), move("y", 60)), 3600)
    assert names(kept) == {"x", "y"}
    assert whole.total_s.high < 3600


def test_one_that_is_too_long_leaves_its_time_to_the_others() -> None:
    state = queue(move("long", 5000), move("x", 60), move("y", 60))
    kept, whole = fitted(state, 600)
    assert names(kept) == {"x", "y"}
    assert {slot.id for slot in whole.slots} == {"x", "y"}
    assert all(slot.end_s.high <= 600 for slot in whole.slots)


def test_so_many_go_as_end_in_time() -> None:
    state = queue(*(move(f"v{n}", 100) for n in range(6)))
    kept, whole = fitted(state, 400)
    assert 1 <= len(names(kept)) < 6
    assert all(slot.end_s.high <= 400 for slot in whole.slots)
    assert fitted(state, 0.0)[0].waiting == ()


def test_the_later_of_two_forecasts_counts() -> None:
    slot = Slot("x", 10.0, Band(80, 90, 100), None, 1.0)
    assert ends_inside(slot, Band(1, 2, 3), 100)
    assert not ends_inside(slot, Band(1, 2, 3), 99)
    assert not ends_inside(slot, None, 1000), "nothing is known of it"
    assert ends_inside(slot, Band(50, 70, 90), 100)
    assert not ends_inside(slot, Band(50, 70, 91), 100)
