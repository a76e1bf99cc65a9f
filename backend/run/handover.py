"""When a VM stopped at its source and ran at its target, by the hosts' own events."""

import time


class Handover:
    """Takes lifecycle details as they arrive; each counts the first time only."""

    def __init__(self) -> None:
        self._stopped_s: float | None = None
        self._resumed_s: float | None = None

    def take(self, detail: str) -> None:
        """`suspended migrated`, `resumed post-copy`, ...: from either end."""
        now_s = time.monotonic()
        if detail in ("suspended migrated", "suspended post-copy"):
            self._stopped_s = self._stopped_s or now_s
        if detail in ("resumed migrated", "resumed post-copy"):
            self._resumed_s = self._resumed_s or now_s

    def pause_ms(self, suspended_s: float | None, post_copy: bool) -> int | None:
        """Of a VM we suspended (`time.monotonic()` of it), or that went by post-copy, where
        libvirt's figure is only the source's half; None for others, or when an event is missing."""
        begun_s = self._stopped_s if suspended_s is None and post_copy else suspended_s
        if begun_s is None or self._resumed_s is None or self._resumed_s < begun_s:
            return None
        return round(1000 * (self._resumed_s - begun_s))
