"""How images of a VM that does not run could be copied from the source to the target."""

from dataclasses import replace

from backend.model import DiskAction
from backend.plan.disks import disk_cases
from backend.plan.facts import Survey
from backend.remote.copy_means import CopyMeans, copy_means
from backend.remote.shell import LocalShell
from backend.remote.ssh import SshHost
from backend.run.ordering import host_of
from backend.run.survey_asking import Asking

MEANS_LIMIT_S = 30.0


async def with_copy_route(asking: Asking, facts: Survey) -> Survey:
    """Tried between the two hosts, where an image has to be copied at all."""
    if not any(case.move.action is DiskAction.COPY for case in disk_cases(facts)):
        return facts
    source = asking.shell("copy", asking.source)
    target = asking.shell("copy", asking.target)
    if not isinstance(source, SshHost | LocalShell) or not isinstance(target, SshHost | LocalShell):
        return facts
    address = host_of(facts.migrate_uri)
    trying = copy_means(source, target, address, facts.encrypted)
    means = await asking.ask("copy", trying, MEANS_LIMIT_S)
    return facts if means is None else _told(facts, means)


def _told(facts: Survey, means: CopyMeans) -> Survey:
    if means.route is None:
        return replace(facts, copy_refused=means.why.rstrip("."), copy_remedy=means.remedy)
    return replace(facts, copy_route=means.route, copy_why=means.why.rstrip("."))
