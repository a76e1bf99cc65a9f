"""The command line: what may be said, and who does it. No arguments opens the console.

Exit codes (design.md section 4): 0 moved or done, 1 stayed, 2 refused before anything was
touched, 3 needs the operator.
"""

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from backend.service.client import BadInput, FerryError
from backend.service.protocol import FleetChoice
from tui.render import room

Verb = Callable[[argparse.Namespace, FleetChoice], Awaitable[int]]

EXIT_REFUSED = 2
EXIT_NEEDS_YOU = 3
_FOLLOWING = (
    "migrate",
    "watch",
    "abort",
    "recover",
    "evacuate",
    "return",
    "evacuations",
    "roll",
    "rolls",
    "run",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; every error is a sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["lab"]:
        return _lab(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except FerryError as error:
        print(f"virt-ferry: {_one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more to say, and nothing to say it to.
        # How a migration ended it never heard either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NEEDS_YOU if options.verb in _FOLLOWING else 0
    except KeyboardInterrupt:
        return 130


def fleet_choice(options: argparse.Namespace) -> FleetChoice:
    """Which fleet is meant: -c URIs, --fleet, VIRT_FERRY_FLEET, or the XDG configuration."""
    if options.connect and options.fleet:
        raise BadInput("--fleet and -c cannot both be given.", "Leave one out.")
    if options.connect:
        return FleetChoice(uris=tuple(options.connect))
    named = options.fleet or os.environ.get("VIRT_FERRY_FLEET")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    path = Path(named) if named else Path(base) / "virt-ferry" / "fleet.toml"
    return FleetChoice(path=str(path.expanduser().absolute()))


def _run(options: argparse.Namespace) -> int:
    choice = fleet_choice(options)
    if options.verb is None:
        return open_console(choice, options.ascii or None)
    # Imported here: each verb pays only for its own.
    from tui.commands import (
        doctor,
        engine,
        evacuate,
        export,
        fleet,
        history,
        jobs,
        moves,
        replay,
        roll,
        run,
        steer,
    )

    verbs: dict[str, Verb] = {
        "hosts": fleet.hosts,
        "vms": fleet.vms,
        "plan": moves.plan,
        "migrate": moves.migrate,
        "jobs": jobs.jobs,
        "watch": jobs.watch,
        "abort": jobs.abort,
        "steer": steer.steer,
        "policies": steer.policies,
        "recover": jobs.recover,
        "history": history.history,
        "export": export.export,
        "doctor": doctor.doctor,
        "evacuate": evacuate.evacuate,
        "return": evacuate.bring_back,
        "evacuations": evacuate.evacuations,
        "maintenance": evacuate.maintenance,
        "roll": roll.roll,
        "rolls": roll.rolls,
        "run": run.run,
        "rules": run.rules,
    }
    if options.verb == "engine":
        return engine.engine(options)
    if options.verb == "replay":
        return replay.replay(options)
    return asyncio.run(_awaited(verbs[options.verb](options, choice)))


async def _awaited(result: Awaitable[int]) -> int:
    return await result


def open_console(choice: FleetChoice, ascii_only: bool | None = None) -> int:
    """The console on a fleet; returns when the operator leaves it.

    `ascii_only` None: as the terminal and the locale say.
    """
    _check_terminal()
    from backend.service.client import EngineClient
    from tui.app import FerryApp

    label = Path(choice.path).stem if choice.path else ", ".join(choice.uris)
    app = FerryApp(lambda: EngineClient.connect(choice), label, ascii_only=ascii_only)
    app.run()
    return app.return_code or 0


def _check_terminal() -> None:
    """Before anything is begun for a console. Raises BadInput."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput(
            "The console needs a terminal.", "For scripts there is `virt-ferry vms --json`."
        )
    if reason := room.too_little(*shutil.get_terminal_size()):
        raise BadInput(reason, room.REMEDY)


def _lab(arguments: list[str]) -> int:
    """The lab is a program of its own: the command line only passes on."""
    words = [sys.executable, "-m", "backend.lab", *arguments]
    if arguments:
        os.execv(sys.executable, words)
    return _open_lab()


def _open_lab() -> int:
    """`virt-ferry lab`: bring it up if it is not, open the console on it."""
    import json
    import subprocess

    try:
        _check_terminal()
        up = subprocess.run([sys.executable, "-m", "backend.lab", "up"], check=False)
        if up.returncode != 0:
            return up.returncode
        status = subprocess.run(
            [sys.executable, "-m", "backend.lab", "status", "--json"],
            check=False,
            stdout=subprocess.PIPE,
        )
        if status.returncode != 0:
            return status.returncode
        return open_console(FleetChoice(path=json.loads(status.stdout)["fleet"]))
    except FerryError as error:
        print(f"virt-ferry: {_one_line(str(error))}", file=sys.stderr)
        return error.exit_code


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


class _Parser(argparse.ArgumentParser):
    """Usage errors as one sentence, exit 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        line = _one_line(message)
        line = line[:1].upper() + line[1:]
        print(f"virt-ferry: {line}. `{self.prog} --help` tells more.", file=sys.stderr)
        sys.exit(EXIT_REFUSED)


def _parser() -> argparse.ArgumentParser:
    from tui.commands import doctor, export, history, replay, run, steer, wanted

    parser = _Parser(prog="virt-ferry", description="Moves virtual machines between hosts.")
    _fleet_options(parser, top=True)
    parser.add_argument("--ascii", action="store_true", help="a console without other glyphs")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", parser_class=_Parser)
    common = _Parser(add_help=False)
    _fleet_options(common, top=False)
    common.add_argument("--json", action="store_true", help="machine-readable output")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text, parents=[common])

    verb("hosts", "lists the hosts")
    verb("vms", "lists the VMs")
    plan = verb("plan", "findings, forecast and the equal virsh command; changes nothing")
    plan.add_argument("vm", nargs="+", metavar="VM")
    plan.add_argument("--to", metavar="HOST")
    wanted.add_options(plan)
    migrate = verb("migrate", "moves VMs; prints phases, samples, decisions and the verdict")
    migrate.add_argument("vm", nargs="+", metavar="VM")
    migrate.add_argument("--to", metavar="HOST", help="not for --mode storage")
    wanted.add_options(migrate)
    listing = verb("jobs", "running migrations, and those that ended since the engine began")
    listing.add_argument("--running", action="store_true", help="only those that run")
    verb("watch", "follows a migration").add_argument("id", metavar="ID")
    verb("abort", "asks a migration to leave its VM at the source").add_argument("id", metavar="ID")
    recover = verb("recover", "goes on with a post-copy whose stream broke")
    recover.add_argument("id", metavar="ID")
    history.add_options(verb("history", "migrations that have ended, or the report of one"))
    export.add_options(verb("export", "a report for a change ticket, or a recording, in a file"))
    replay.add_options(verb("replay", "plays a recording; needs no engine and no hosts"))
    steer.add_options(verb("steer", steer.BRIEF))
    verb("policies", "lists the policies that --policy takes")
    verb("doctor", doctor.BRIEF)
    evacuate = verb("evacuate", "empties a host: plans every VM, then moves them in order")
    wanted.add_run_options(evacuate)
    evacuate.add_argument("--to", metavar="HOST", action="append", help="only there; repeatable")
    wanted.add_run_options(verb("return", "brings home what left a host in an evacuation"))
    runs = verb("evacuations", "lists evacuations and returns; goes on with one, or ends it")
    runs.add_argument("action", nargs="?", choices=("watch", "pause", "resume", "abort"))
    runs.add_argument("run", nargs="?", metavar="HOST")
    wanted.add_roll_options(verb("roll", "hosts one after the other: empty, hook, VMs home"))
    rolls = verb("rolls", "lists rolls; goes on with the open one, or ends it")
    rolls.add_argument("action", nargs="?", choices=("watch", "pause", "resume", "skip", "abort"))
    upkeep = verb("maintenance", "a host takes no VM from now on, or does again")
    upkeep.add_argument("host", metavar="HOST")
    upkeep.add_argument("state", choices=("on", "off"))
    run.add_options(verb("run", run.BRIEF))
    verb("rules", "lists the fleet file's rules, and what they say now")
    verbs.add_parser("lab", help="real hosts and guests on this machine", add_help=False)
    engine = verb("engine", "the engine process: run it, ask about it, end it")
    engine.add_argument("action", nargs="?", choices=("status", "stop"), default="status")
    engine.add_argument("--foreground", action="store_true", help="run it here, for systemd")
    engine.add_argument("--force", action="store_true", help="stop it although migrations run")
    return parser


def _fleet_options(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """Given before the verb or after it: SUPPRESS keeps the one from undoing the other."""
    default = None if top else argparse.SUPPRESS
    parser.add_argument("--fleet", metavar="FILE", default=default, help="the fleet file (TOML)")
    parser.add_argument(
        "-c",
        "--connect",
        metavar="URI",
        action="append",
        default=default,
        help="a libvirt URI instead of a fleet file; may be repeated",
    )


if __name__ == "__main__":
    sys.exit(main())
