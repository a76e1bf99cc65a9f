"""A console in this terminal on a recording played in real time: `play.py NAME [START]`.

`--restless` shifts every running VM's CPU share by some points each second, both ways, so that
every row changes every second.
"""

import argparse
import asyncio
import itertools
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from backend.service.protocol import FleetChanged  # noqa: E402
from tests.console.recorded import RecordedLink, load, play_live  # noqa: E402
from tui.app import FerryApp  # noqa: E402


async def stir(app: FerryApp, link: RecordedLink) -> None:
    """Change every running VM and host each second."""
    for step in itertools.cycle((4.0, -4.0)):
        await asyncio.sleep(1)
        fleet = app.store.fleet
        vms = (v for v in fleet.vms if v.cpu_percent is not None)
        await link.publish(
            FleetChanged(
                name=fleet.name,
                vms=tuple(replace(v, cpu_percent=abs((v.cpu_percent or 0) + step)) for v in vms),
                hosts=tuple(
                    replace(h, cpu_percent=abs((h.cpu_percent or 0) + step)) for h in fleet.hosts
                ),
            )
        )


async def keep_time(link: RecordedLink) -> None:
    """After the end the clock goes on."""
    while True:
        await asyncio.sleep(0.5)
        link.clock.now += 0.5


def main() -> None:
    """Play it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("start", type=float, nargs="?", default=0.0)
    parser.add_argument("--restless", action="store_true")
    options = parser.parse_args()
    link = RecordedLink(load(options.name))
    tasks: list[asyncio.Task[None]] = []

    async def connect() -> RecordedLink:
        tasks.append(asyncio.create_task(play()))
        return link

    async def play() -> None:
        await link.play_to(options.start)
        if options.restless:
            tasks.append(asyncio.create_task(stir(app, link)))
        await play_live(link)
        await keep_time(link)

    app = FerryApp(connect, "lab", link.clock)
    app.run()


if __name__ == "__main__":
    main()
