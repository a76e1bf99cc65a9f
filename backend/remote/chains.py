"""Chains of image files on a host, many at once."""

import json
from collections.abc import Sequence

from backend.errors import CopyFailed
from backend.remote.shell import Shell, run_script

_EACH = r"""
export LC_ALL=C
while [ $# -gt 1 ]; do
    if [ ! -e "$1" ]; then echo '"gone"'
    else qemu-img info --output=json --backing-chain -U -f "$2" -- "$1" 2>/dev/null || echo null
    fi
    shift 2
done
"""


async def backing_paths(
    shell: Shell, images: Sequence[tuple[str, str]], timeout_s: float
) -> dict[str, frozenset[str] | None]:
    """Of images given as path and format, the paths of all below them; None: not readable. A file
    that is not there has none.

    Raises:
        CopyFailed: The host has no qemu-img.
        HostUnreachable: It does not answer.
    """
    words = [word for image in images for word in image]
    done = await run_script(shell, _EACH, *words, timeout_s=timeout_s)
    found = parse_chains(done.stdout)
    if len(found) != len(images):
        raise CopyFailed(f"What qemu-img said of the images on {shell.name} cannot be read.")
    return {path: below for (path, _), below in zip(images, found, strict=True)}


def parse_chains(text: str) -> list[frozenset[str] | None]:
    """Documents one after the other: the chain of an image each, `null`, or `"gone"`."""
    decoder, found, at = json.JSONDecoder(), list[frozenset[str] | None](), 0
    text = text.strip()
    try:
        while at < len(text):
            one, at = decoder.raw_decode(text, at)
            at += len(text[at:]) - len(text[at:].lstrip())
            found.append(_below(one))
    except ValueError:
        return []
    return found


def _below(one: object) -> frozenset[str] | None:
    if one == "gone":
        return frozenset()
    if not isinstance(one, list) or not all(isinstance(image, dict) for image in one):
        return None
    return frozenset(str(image.get("filename")) for image in one[1:])
