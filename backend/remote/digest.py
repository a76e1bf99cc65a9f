"""A hash of a file's content, made on its host."""

from backend.errors import CopyFailed
from backend.remote.images import absolute
from backend.remote.process import AnyHost
from backend.remote.shell import run_script

DIGEST_LIMIT_S = 6 * 3600.0


async def digest(host: AnyHost, path: str) -> str:
    """`sha256:HEX`. Raises CopyFailed, HostUnreachable."""
    done = await run_script(
        host, 'exec sha256sum -b -- "$1"', absolute(path), timeout_s=DIGEST_LIMIT_S
    )
    words = done.stdout.split()
    if done.exit_status != 0 or not words:
        raise CopyFailed(f"{path} on {host.name} could not be read to its end.")
    return f"sha256:{words[0]}"
