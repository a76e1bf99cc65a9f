"""The time of day, which is passed in: a test says what it is, and a jump of it harms nothing.

Spans are measured with `time.monotonic()`, never by two looks at this.
"""

from collections.abc import Callable

Now = Callable[[], float]
"""Tells epoch seconds. The engine process makes one, at its start; every room is handed it."""
