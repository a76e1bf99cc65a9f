"""A QEMU on the hosts whose emulated guests survive a live migration.

QEMU before 8.2.2 and 9.0 (Debian 12 has 7.2) loses what an emulated (TCG) guest writes during a
migration: the fast way of collecting the dirty bitmap forgets to tell the emulator's TLB, so
later writes go unseen, and now and then a guest crashes at the target. ("physmem: Fix migration
dirty bitmap coherency with TCG memory access" is the upstream change.) The slow way is right, and
is taken where the size of the memory is no multiple of 256 KiB. So every guest gets 8 KiB more.
libvirt would round that away; hence this stands in the hosts where the emulator is.
"""

from backend.lab.guest_image import write_new
from backend.lab.layout import Lab

_WRAPPER = """\
#!/bin/bash
# Gives the guest 8 KiB more memory than libvirt asked for; see backend/lab/qemu_wrapper.py.
arguments=()
previous=
for argument in "$@"; do
    case $previous in
        -m)
            if [[ $argument =~ ^(size=)?([0-9]+)([kK]?)$ ]]; then
                kib=${BASH_REMATCH[2]}
                [[ ${BASH_REMATCH[3]} ]] || kib=$((kib * 1024))
                argument=size=$((kib + 8))k
            fi ;;
        -object)
            if [[ $argument =~ ^(.*\\"pc\\.ram\\".*\\"size\\":)([0-9]+)(.*)$ ]]; then
                argument=${BASH_REMATCH[1]}$((BASH_REMATCH[2] + 8192))${BASH_REMATCH[3]}
            fi ;;
    esac
    arguments+=("$argument")
    previous=$argument
done
exec /run/usr/bin/qemu-system-x86_64 "${arguments[@]}"
"""


def install_wrapper(lab: Lab) -> None:
    """Write it where the hosts mount it from."""
    path = lab.boot / "qemu-system-x86_64"
    write_new(path, _WRAPPER.encode())
    path.chmod(0o755)
