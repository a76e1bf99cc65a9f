"""Two hosts of the lab between which images are copied."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backend.model import CopyRoute
from backend.remote.digest import same_content
from backend.remote.image_copy import CopyOrder, ImageCopy
from backend.remote.ssh import SshHost
from tests.lab.conftest import Lab
from tests.lab.image_lab import MIB, Images


class Pair:
    """Two hosts as the engine reaches them, and their images."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.source = SshHost("kvm-a", str(lab.ssh_config))
        self.target = SshHost("kvm-b", str(lab.ssh_config))
        self.at_source = Images(lab, "kvm-a")
        self.at_target = Images(lab, "kvm-b")
        self.told: list[tuple[int, int]] = []

    def order(self, name: str, **more: object) -> CopyOrder:
        """Of the image of that name, to an empty file of that name."""
        to = str(more.pop("to", name))
        target = self.at_source if more.get("route") is CopyRoute.LOCAL else self.at_target
        if not target.file(to).exists():
            target.file(to).touch()
        paths = (self.at_source.path(name), target.path(to))
        return CopyOrder(*paths, target_address="kvm-b", **more)  # type: ignore[arg-type]

    def copy(self, name: str, **more: object) -> ImageCopy:
        def tell(done: int, total: int) -> None:
            self.told.append((done, total))
            self.moving.set()

        self.moving = asyncio.Event()
        self.told.clear()
        return ImageCopy(self.source, self.target, self.order(name, **more), tell)

    async def same(self, name: str, to: str) -> str:
        """The digest of both files."""
        ends = (self.at_source.path(name), self.at_target.path(to))
        return await same_content(self.source, ends[0], self.target, ends[1])


@asynccontextmanager
async def paired(lab: Lab) -> AsyncIterator[Pair]:
    """Connected; the images are removed afterwards."""
    pair = Pair(lab)
    await asyncio.gather(pair.source.connect(), pair.target.connect())
    try:
        yield pair
    finally:
        await asyncio.gather(pair.source.close(), pair.target.close())
        for images in (pair.at_source, pair.at_target):
            for file in images.folder.glob("*"):
                if file.is_file():
                    file.unlink()


def big(pair: Pair, name: str = "big.raw", size: int = 32 * MIB) -> str:
    """An image that takes a while at a low rate."""
    block = os.urandom(MIB)
    with open(pair.at_source.file(name), "wb") as file:
        for _ in range(size // MIB):
            file.write(block)
    return name
