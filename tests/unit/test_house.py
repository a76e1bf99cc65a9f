"""The house's rules: who may import whom, and how large a module may be.

Imports are checked by importing each module in a fresh interpreter and looking at what came
along: that sees deferred and transitive imports alike.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
APP_MAX_LINES = 250

ROOMS = {
    "backend.model": set[str](),
    "backend.errors": set[str](),
    "backend.ownership": {"backend.errors"},
    "backend.hypervisor": {"backend.model", "backend.errors"},
    "backend.remote": {"backend.model", "backend.errors"},
    "backend.plan": {"backend.model", "backend.errors"},
    "backend.fleet": {
        "backend.model",
        "backend.errors",
        "backend.ownership",
        "backend.hypervisor",
        "backend.remote",
    },
    "backend.run": {
        "backend.model",
        "backend.errors",
        "backend.hypervisor",
        "backend.remote",
        "backend.fleet",
        "backend.plan",
    },
    "backend.service": {
        "backend.model",
        "backend.errors",
        "backend.ownership",
        "backend.fleet",
        "backend.run",
    },
    "backend.lab": set[str](),
    "tui": {"backend.model", "backend.service.client", "backend.service.protocol"},
}
"""Room -> what it may import besides itself; `tui`'s engine command also needs `paths`."""

EXCEPTIONS = {("tui/commands/engine.py", "backend.service.paths")}


def modules(top: str) -> list[Path]:
    return sorted((ROOT / top).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_by(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] in ("backend", "tui")}


def room_of(name: str) -> str:
    return max((room for room in ROOMS if (name + ".").startswith(room + ".")), key=len)


@pytest.mark.parametrize("path", [*modules("backend"), *modules("tui")], ids=dotted)
def test_arrows_go_one_way(path: Path) -> None:
    name = dotted(path)
    if name == "backend":
        return
    room = room_of(name)
    allowed = ROOMS[room] | {room}
    wrong = set()
    for imported in imported_by(path):
        if imported == "backend" or (dotted_exception(path), imported) in EXCEPTIONS:
            continue
        if not any((imported + ".").startswith(other + ".") for other in allowed):
            module = imported.rpartition(".")[0]
            if not any((module + ".").startswith(other + ".") for other in allowed):
                wrong.add(imported)
    wrong = {one for one in wrong if not excepted(path, one)}
    assert not wrong, f"{name} ({room}) must not import {sorted(wrong)}"


def dotted_exception(path: Path) -> str:
    return str(path.relative_to(ROOT))


def excepted(path: Path, imported: str) -> bool:
    return any(
        dotted_exception(path) == file and (imported + ".").startswith(name + ".")
        for file, name in EXCEPTIONS
    ) or (dotted_exception(path), imported) == ("tui/commands/engine.py", "backend.service")


def loaded_with(*names: str) -> set[str]:
    code = f"import sys\nfor name in {names!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def all_of(top: str) -> list[str]:
    return [dotted(path) for path in modules(top) if path.name != "__main__.py"]


def test_the_engine_brings_no_textual() -> None:
    assert "textual" not in loaded_with(*all_of("backend"))


def test_the_console_brings_neither_libvirt_nor_ssh() -> None:
    loaded = loaded_with(*all_of("tui"))
    assert not loaded & {"libvirt", "libvirtmod", "asyncssh", "backend.run", "backend.fleet"}


@pytest.mark.parametrize("room", ["plan", "remote", "lab"])
def test_libvirt_stays_behind_its_door(room: str) -> None:
    assert "libvirt" not in loaded_with(*all_of(f"backend/{room}"))


@pytest.mark.parametrize("room", ["plan", "hypervisor", "lab"])
def test_ssh_stays_behind_its_door(room: str) -> None:
    assert "asyncssh" not in loaded_with(*all_of(f"backend/{room}"))


@pytest.mark.parametrize("path", [*modules("backend"), *modules("tui")], ids=dotted)
def test_no_module_grows_too_large(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= (APP_MAX_LINES if dotted(path) == "tui.app" else MAX_LINES)
