"""Asking one host all that an examination wants of it: each question bounded, a failed one leaving
its reason. Nothing is changed on it.

libvirt is asked on lanes of their own: an examination that meets a QEMU that hangs must not cost
the host its connection.
"""

import asyncio
import posixpath
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from backend.errors import CallTimedOut, FerryError, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor import checkup as there
from backend.hypervisor.connection import Lane
from backend.model import HostState, Now
from backend.plan.doctor_facts import Checkup, Copy, Paper, Volume
from backend.plan.facts import Versions
from backend.remote import checkup as told
from backend.remote import pki
from backend.run.answers import answered

T = TypeVar("T")

ASK_LIMIT_S = 6.0
QEMU_LIMIT_S = 2.0
RUNNING_AT_MOST = 400
"""VMs asked what only their QEMUs know; each is three short calls."""
_DEAF_AT_MOST = 2


@dataclass(slots=True)
class HostAnswers:
    """One host's, before the others' are known."""

    watch: HostWatch
    now: Now
    checkup: Checkup
    papers: told.HostPapers | None = None
    pools: tuple[there.PoolLook, ...] | None = None
    unknown: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In the fleet."""
        return self.watch.name

    @property
    def up(self) -> bool:
        """It answered when the examination began."""
        return self.checkup.up

    async def ask(self, fact: str, answer: Awaitable[T], limit_s: float = ASK_LIMIT_S) -> T | None:
        """The answer; None with its reason in `unknown`."""
        return await answered(self.unknown, fact, answer, limit_s)

    def add(self, **facts: Any) -> None:
        """Put facts into the checkup."""
        self.checkup = replace(self.checkup, **facts)


def begun(watch: HostWatch, now: Now) -> HostAnswers:
    """What is known without asking."""
    identity = watch.identity if watch.host.state is HostState.UP else None
    checkup = Checkup(
        watch.host,
        watch.migrate_uri,
        has_shell=watch.shell is not None,
        host_uuid=identity.uuid if identity else "",
        versions=Versions(identity.libvirt_version, identity.hypervisor_version)
        if identity
        else None,
    )
    return HostAnswers(watch, now, checkup)


async def ask_host(of: HostAnswers) -> None:
    """All that needs no other host's answer, at once."""
    if of.up:
        await asyncio.gather(_ask_libvirt(of), _ask_papers(of))


async def look_again(of: HostAnswers, names: Collection[str]) -> tuple[Copy, ...] | None:
    """Only which VMs it has and what they do, with the jobs of those called so."""
    if not of.up:
        return None
    asked = of.watch.call(there.look_at_domains, ASK_LIMIT_S, "list its VMs")
    looks = await of.ask("again", asked)
    if looks is None:
        return None
    copies = [_copy(of.name, one) for one in looks]
    return await _with_running(of, copies, [one for one in copies if one.name in names])


# -- libvirt ---------------------------------------------------------------------------------


async def _ask_libvirt(of: HostAnswers) -> None:
    lane = await of.ask("vms", of.watch.open_lane("doctor"))
    if lane is None:
        return
    try:
        call = _caller(of, lane)
        looks = await call("vms", there.look_at_domains, "list its VMs")
        images = await call("images", there.look_at_images, "tell the images of its VMs")
        of.pools = await call("volumes", there.look_at_pools, "list its pools")
    finally:
        await lane.close()
    if images is None:
        of.pools = None  # nobody could say which of their images are used
    if looks is None:
        return
    named = _named(images or {}, of.pools or ())
    copies = [
        replace(_copy(of.name, one), images=named.get(one.uuid, frozenset())) for one in looks
    ]
    of.add(copies=await _with_running(of, copies, copies[:RUNNING_AT_MOST]))


def _caller(of: HostAnswers, lane: Lane) -> Callable[..., Awaitable[Any]]:
    async def call(fact: str, function: Callable[..., T], what: str) -> T | None:
        return await of.ask(fact, lane.call(function, ASK_LIMIT_S, what), ASK_LIMIT_S + 1)

    return call


def _copy(host: str, look: there.DomainLook) -> Copy:
    return Copy(look.uuid, look.name, host, look.state, look.reason, saved=look.saved)


def _named(
    images: Mapping[str, frozenset[str]], pools: tuple[there.PoolLook, ...]
) -> dict[str, frozenset[str]]:
    """By UUID, paths: what is named as `pool/volume` too."""
    paths = {
        f"{pool.name}/{name}": posixpath.join(pool.path, name)
        for pool in pools
        for name in pool.volumes
    }
    return {
        uuid: frozenset(paths.get(image, image) for image in some) for uuid, some in images.items()
    }


async def _with_running(
    of: HostAnswers, copies: Sequence[Copy], asked: Sequence[Copy]
) -> tuple[Copy, ...]:
    """`copies`, with what the QEMUs of those `asked` tell; a lane that one of them holds up is
    given up, and the rest are asked on another."""
    left = [one.uuid for one in asked if one.active]
    found: dict[str, there.RunningLook] = {}
    deaf: list[str] = []
    while left and len(deaf) < _DEAF_AT_MOST:
        lane = await of.ask("limits", of.watch.open_lane("doctor-vms"))
        if lane is None:
            break
        try:
            heard = await of.ask("limits", _ask_running(lane, left, found))
        finally:
            await lane.close(0.5)
        if heard is not False:
            break
        deaf.append(left.pop(0))
    if left or deaf:
        of.unknown.setdefault("limits", "not all QEMUs answered")
    return tuple(_told(one, found.get(one.uuid), one.uuid in deaf) for one in copies)


async def _ask_running(lane: Lane, left: list[str], found: dict[str, there.RunningLook]) -> bool:
    """One after the other, taking from `left` those that have told; False where the first of
    `left` does not answer."""
    while left:
        asked = partial(there.look_at_running, uuid=left[0])
        try:
            found[left[0]] = await lane.call(asked, QEMU_LIMIT_S, "tell about its VMs")
        except CallTimedOut:
            return False
        except HypervisorError:
            found[left[0]] = there.RunningLook(None)  # gone, or not to be asked now
        left.pop(0)
    return True


def _told(copy: Copy, look: there.RunningLook | None, deaf: bool) -> Copy:
    if look is None:
        return replace(copy, job_known=not copy.active, deaf=deaf)
    return replace(
        copy, job=look.job, pause_ms=look.pause_ms, bandwidth_bytes_s=look.bandwidth_bytes_s
    )


# -- SSH -------------------------------------------------------------------------------------


async def _ask_papers(of: HostAnswers) -> None:
    shell = of.watch.shell
    if shell is None:
        return
    asked, asked_s = of.now(), time.monotonic()
    of.papers = await of.ask("papers", told.probe_papers(shell, ASK_LIMIT_S))
    if of.papers is not None:
        half_s = (time.monotonic() - asked_s) / 2
        if of.papers.clock is not None:
            of.add(clock_offset_s=of.papers.clock - (asked + half_s), clock_error_s=half_s)
        papers = await asyncio.to_thread(lambda p: tuple(map(_paper, p.files)), of.papers)
        of.add(papers=papers, address=of.papers.address)


def _paper(file: told.PemFile) -> Paper:
    paper = Paper(file.role, file.path, file.there, file.readable)
    if not file.readable:
        return paper
    try:
        read = pki.read_certificate(file.pem)
    except FerryError as error:
        return replace(paper, fault=error.sentence)
    return replace(paper, names=read.names, starts=read.starts, ends=read.ends)


# -- what needs the others' answers ----------------------------------------------------------


async def ask_files(of: HostAnswers, candidates: frozenset[str]) -> None:
    """Volumes that no VM of its own names, and its VMs' images of which others have a volume.
    `candidates`: the paths of such volumes on all hosts."""
    copies, shell = of.checkup.copies, of.watch.shell
    if of.pools is None or copies is None:
        return
    named = frozenset[str]().union(*(copy.images for copy in copies))
    unnamed = unnamed_volumes(of)
    wanted = {one.path for one in unnamed} | (named & candidates)
    looks: dict[str, told.FileLook] | None = None
    if shell is not None:
        looks = await of.ask("files", told.look_at_files(shell, sorted(wanted)))
        if looks is None:
            return
    # A pool may list what is gone: where the host was asked, only what it has counts.
    volumes = [one for one in unnamed if looks is None or one.path in looks]
    looks = looks or {}
    of.add(
        volumes=tuple(_seen(one, looks.get(one.path)) for one in volumes),
        images={path: _identity(looks[path]) for path in named if path in looks},
    )


def unnamed_volumes(of: HostAnswers) -> tuple[Volume, ...]:
    """Of its pools, those that no VM of its own names."""
    named = frozenset[str]().union(*(copy.images for copy in of.checkup.copies or ()))
    return tuple(
        Volume(of.name, pool.name, name, path)
        for pool in of.pools or ()
        for name in sorted(pool.volumes)
        if (path := posixpath.join(pool.path, name)) not in named
    )


def _identity(look: told.FileLook) -> tuple[int, int]:
    return look.inode, look.born


def _seen(volume: Volume, look: told.FileLook | None) -> Volume:
    if look is None:
        return volume
    return replace(
        volume,
        identity=_identity(look),
        idle_s=look.idle_s,
        allocated_bytes=look.allocated_bytes,
    )
