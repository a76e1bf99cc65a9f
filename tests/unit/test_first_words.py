"""What is read by who gets the first command wrong: one sentence, its remedy, exit code 2."""

import subprocess
from collections.abc import Sequence

import pytest

from backend.lab.__main__ import main as lab_main
from tui import command
from tui.render import room

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture, *words: str) -> str:
    """What one call that is refused says on stderr."""
    try:
        code = command.main(words)
    except SystemExit as end:
        code = int(str(end.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "reason", "remedy"),
    [
        ((), "needs a terminal", "virt-ferry vms --json"),
        (("replay",), "needs a terminal", ""),
        (("frobnicate",), "'frobnicate'", "--help"),
        (("migrate",), "VM", "migrate --help"),
        (("--fleet", "a.toml", "-c", "qemu:///system", "hosts"), "cannot both", "Leave one out"),
    ],
)
def test_each_is_a_sentence(
    capsys: Capture, words: Sequence[str], reason: str, remedy: str
) -> None:
    sentence = said(capsys, *words)
    assert sentence.startswith("virt-ferry: ")
    assert reason in sentence
    assert remedy in sentence


def test_the_lab_is_not_brought_up_for_a_console_that_cannot_open(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda *words, **_: begun.append(words))
    assert "needs a terminal" in said(capsys, "lab")
    assert begun == []


def test_a_terminal_that_is_too_small_is_refused(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")
    assert "40 columns and 10 rows" in said(capsys)
    assert room.too_little(room.LEAST_COLUMNS, room.LEAST_ROWS) == ""


def test_so_is_a_command_of_the_lab(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        lab_main(["frobnicate"])
    err = capsys.readouterr().err
    assert err.startswith("virt-ferry lab: ")
    assert err.count("\n") == 1
