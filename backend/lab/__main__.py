"""The lab's command line: `virt-ferry lab ...` and `python -m backend.lab ...` end here."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from backend.lab.control import (
    change_disk_writer,
    change_link,
    change_writer,
    describe_writer,
    parse_link_wish,
    quiet,
)
from backend.lab.down import take_down
from backend.lab.errors import LabError, LabUsageError
from backend.lab.layout import check_host_count, check_name
from backend.lab.rates import parse_link_rate, parse_size, show_link_rate
from backend.lab.settings import require
from backend.lab.status import as_json, as_table, status
from backend.lab.up import MIN_MEMORY_MIB, Wish, bring_up

NAME_VARIABLE = "VIRT_FERRY_LAB"
DEFAULT_NAME = "lab"

_MIB = 1024 * 1024
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Never a traceback for what a user can cause."""
    options = parser().parse_args(arguments)
    try:
        if os.geteuid() != 0:
            raise LabUsageError(
                "The lab makes namespaces and starts daemons, which takes root. Run it as root."
            )
        options.lab_name = check_name(options.name)
        options.run(options)
    except LabError as error:
        print(f"virt-ferry lab: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"virt-ferry lab: {error.strerror or error}{where}.", file=sys.stderr)
        return LabError.exit_code
    except KeyboardInterrupt:
        print(
            "virt-ferry lab: interrupted; `virt-ferry lab up` repairs, `down` removes.",
            file=sys.stderr,
        )
        return _INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """Usage errors as one sentence, exit 2."""

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        print(f"virt-ferry lab: {line}. `{self.prog} --help` tells more.", file=sys.stderr)
        sys.exit(LabUsageError.exit_code)


def parser() -> argparse.ArgumentParser:
    """The whole command line of the lab."""
    common = _Parser(add_help=False)
    common.add_argument(
        "--name",
        default=os.environ.get(NAME_VARIABLE) or DEFAULT_NAME,
        help=f"which lab (default: ${NAME_VARIABLE}, else {DEFAULT_NAME!r})",
    )
    top = _Parser(
        prog="virt-ferry lab", description="Real libvirt hosts with real VMs on this machine."
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    up = commands.add_parser("up", parents=[common], help="make the lab, or repair it")
    up.add_argument("--hosts", type=int, metavar="N", help="2 to 8 (default 3)")
    up.add_argument("--link", metavar="RATE", help="every host's link, in bits/s (default 1gbit)")
    up.add_argument("--memory", metavar="SIZE", help="of each VM, at least 256M (default 512M)")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[common], help="remove the lab and all it made")
    down.set_defaults(run=_down)

    shown = commands.add_parser("status", parents=[common], help="hosts, VMs, what they write")
    shown.add_argument("--json", action="store_true", help="one JSON object")
    shown.set_defaults(run=_status)

    vm = commands.add_parser("vm", parents=[common], help="what a VM writes, to memory and disk")
    vm.add_argument("vm", metavar="NAME")
    vm.add_argument("--write", metavar="RATE", help="bytes/s: 20MB/s, 500k, 0")
    vm.add_argument("--over", metavar="SIZE", help="how much memory it writes over: 200MB")
    vm.add_argument("--disk-write", metavar="RATE", help="the same for its disk")
    vm.add_argument("--disk-over", metavar="SIZE", default="16MB", help="how much of the disk")
    vm.set_defaults(run=_vm)

    hush = commands.add_parser("quiet", parents=[common], help="silence the writers of all VMs")
    hush.add_argument(
        "--except", dest="spared", action="append", default=[], metavar="VM", help="but this one"
    )
    hush.set_defaults(run=_quiet)

    link = commands.add_parser("link", parents=[common], help="shape, cut or restore a link")
    link.add_argument("host", metavar="HOST")
    link.add_argument("rate", nargs="?", metavar="RATE|down|up", help="200mbit, 1gbit, down, up")
    link.add_argument("--in", dest="inward", metavar="RATE", help="towards the host only")
    link.add_argument("--out", dest="outward", metavar="RATE", help="away from the host only")
    link.set_defaults(run=_link)
    return top


def _say(line: str) -> None:
    print(line, flush=True)


def _up(options: argparse.Namespace) -> None:
    wish = Wish(
        name=options.lab_name,
        host_count=None if options.hosts is None else check_host_count(options.hosts),
        link_bits_s=None if options.link is None else parse_link_rate(options.link),
        memory_mib=None if options.memory is None else _memory_mib(options.memory),
    )
    bring_up(wish, _say)


def _memory_mib(text: str) -> int:
    mib = parse_size(text) // _MIB
    if mib < MIN_MEMORY_MIB:
        raise LabUsageError(f"{text!r} is too little for a lab VM: at least {MIN_MEMORY_MIB}M.")
    return mib


def _down(options: argparse.Namespace) -> None:
    found = take_down(options.lab_name)
    _say(f"lab {options.lab_name}: {'removed' if found else 'there was none'}")


def _status(options: argparse.Namespace) -> None:
    found = status(*require(options.lab_name))
    _say(as_json(found) if options.json else as_table(found))


def _vm(options: argparse.Namespace) -> None:
    lab, vm, report = options.lab_name, options.vm, None
    if options.write is not None:
        report = change_writer(lab, vm, options.write, options.over)
    if options.disk_write is not None:
        report = change_disk_writer(lab, vm, options.disk_write, options.disk_over)
    if report is None:
        raise LabUsageError("Say what it is to write: --write RATE, --disk-write RATE, or both.")
    _say(describe_writer(vm, report))


def _quiet(options: argparse.Namespace) -> None:
    silenced = quiet(options.lab_name, options.spared)
    _say(f"quiet: {', '.join(silenced) or 'no VM was running'}")


def _link(options: argparse.Namespace) -> None:
    wish = parse_link_wish(options.rate, options.inward, options.outward)
    link = change_link(options.lab_name, options.host, wish)
    rates = f"in {show_link_rate(link.in_bits_s)}, out {show_link_rate(link.out_bits_s)}"
    _say(f"{options.host}: {'up' if link.up else 'cut'}, {rates}")


if __name__ == "__main__":
    sys.exit(main())
