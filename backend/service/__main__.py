"""The engine process: `python -m backend.service`, or `virt-ferry engine --foreground`."""

import argparse
import asyncio
import fcntl
import logging
import logging.handlers
import os
import signal
import sys
import time
from typing import Any

from backend.errors import FerryError, shown
from backend.model import Now
from backend.service import paths
from backend.service.server import Server

IDLE_S = 900.0


def main(now: Now = time.time) -> int:
    """Serve until idle or told to stop. 0 also when another engine already serves.

    `now`: the engine's clock, the only one that it has.
    """
    options = _options()
    os.umask(0o077)
    try:
        state = paths.state_directory()
    except FerryError as error:
        print(shown(str(error)), file=sys.stderr)
        return error.exit_code
    lock = os.open(paths.lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if options.foreground:
            print(f"An engine is already running for {state}.", file=sys.stderr)
            return 2
        return 0
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    _log_to_file(options.foreground)
    asyncio.run(_serve(options.idle_s, options.ready_fd, now))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="virt-ferry engine")
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    parser.add_argument("--ready-fd", type=int, default=None)
    options = parser.parse_args()
    if options.foreground:
        options.idle_s = float("inf")
    return options


async def _serve(idle_s: float, ready_fd: int | None, now: Now) -> None:
    server = Server(idle_s, now)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    listener = paths.listen(paths.socket_path())
    if ready_fd is not None:
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)
    await server.serve(listener)
    paths.socket_path().unlink(missing_ok=True)


class SafeFormatter(logging.Formatter):
    """A record is one line (and a traceback's): names and texts from outside cannot begin another,
    nor hold what a terminal would obey; passwords in them are masked.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line."""
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        """The traceback, its own lines kept."""
        return "\n".join(shown(line) for line in super().formatException(ei).split("\n"))


def _log_to_file(also_stderr: bool) -> None:
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(paths.log_path(), maxBytes=4_000_000, backupCount=2)
    ]
    if also_stderr:
        handlers.append(logging.StreamHandler())
    formatter = SafeFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)


if __name__ == "__main__":
    code = main()
    # A lane stuck in a C call would hold the interpreter for good: leave without waiting for it.
    logging.shutdown()
    os._exit(code)
