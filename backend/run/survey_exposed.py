"""Whether what is asked of the hosts, and what they ask of each other, is encrypted and checked:
from their URIs, and from what the target's own configuration switches off."""

from backend.fleet.uris import exposed
from backend.plan.facts import Exposure
from backend.remote.certificates import unverified
from backend.run.survey_asking import PROBE_LIMIT_S, Asking, HostAccess

_REMEDY = (
    "Name it by ssh, or by a qemu+tls:// URI that checks certificates; or accept it for"
    ' {host} with tls = "off" in the fleet file.'
)


def exposures(source: HostAccess, target: HostAccess) -> tuple[Exposure, ...]:
    """Of our connections to both, and of the one that the source makes to the target."""
    hosts = {host.name: host for host in (source, target)}
    found = [_of(host, host.source_uri, "uri") for host in hosts.values()]
    if len(hosts) > 1:
        found.append(_of(target, target.migrate_uri, "migrate_uri"))
    return tuple(one for one in found if one is not None)


def _of(host: HostAccess, uri: str, key: str) -> Exposure | None:
    why = exposed(uri)
    if not why:
        return None
    sentence = f"the {key} of {host.name}, {uri}, {why}"
    return Exposure(sentence, _REMEDY.replace("{host}", host.name), allowed=not host.tls)


async def ask_unverified(asking: Asking) -> tuple[Exposure, ...]:
    """What the target takes from anybody; nothing where it cannot be asked."""
    target = asking.target
    if target.shell is None:
        return ()
    found = await asking.ask("verification", unverified(target.shell), PROBE_LIMIT_S)
    return tuple(
        Exposure(
            f"{target.name} does not check who connects: {file} there says {setting}",
            f"Remove that line there and restart libvirt, or accept it for {target.name} with"
            ' tls = "off" in the fleet file.',
            allowed=not target.tls,
        )
        for file, setting in found or ()
    )
