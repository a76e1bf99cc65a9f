"""Who needs an image at its old place: other images that lie on it (linked clones, overlays)."""

import logging

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import volumes
from backend.remote.chains import backing_paths

log = logging.getLogger(__name__)
LIMIT_S = 60.0


async def needed_by(host: HostWatch, path: str) -> str:
    """Why an image must stay, as a sentence's part: it is below another one, or that could not be
    seen. Empty: nothing lies on it, neither in a pool nor of a VM.
    """
    try:
        above = await host.call(
            lambda conn: volumes.lying_on(conn, path, True), LIMIT_S, "say what lies on an image"
        )
        if above is not None:
            return f"{above} lies on it"
        of_vms = await host.call(volumes.image_paths, LIMIT_S, "list the images of its VMs")
        return await _among(host, path, [one for one in of_vms if one[0] != path])
    except FerryError as error:
        log.info("what lies on %s of %s: %s", path, host.name, error)
        return f"whether other images lie on it was not seen: {error.sentence.rstrip('.')}"


async def _among(host: HostWatch, path: str, images: list[tuple[str, str]]) -> str:
    """Those that no pool has: their heads are read."""
    if not images:
        return ""
    if host.shell is None:
        return f"whether other images lie on it was not seen: there is no SSH to {host.name}"
    for image, below in (await backing_paths(host.shell, images, LIMIT_S)).items():
        if below is None:
            return f"whether {image} lies on it could not be read"
        if path in below:
            return f"{image} lies on it"
    return ""
