"""Files that decide what is done: refused when somebody else could have written them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.fleet import config
from backend.fleet.ssh_files import own_configs
from backend.service import paths

FLEET = '[hosts.a]\nssh = "a"\n'
NOBODY = 65534


def writable_by_group(path: Path) -> None:
    path.chmod(0o664)


def writable_by_all(path: Path) -> None:
    path.chmod(0o646)


def of_another_user(path: Path) -> None:
    os.chown(path, NOBODY, -1)


SPOILT = pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (writable_by_group, "chmod go-w"),
        (writable_by_all, "chmod go-w"),
        (of_another_user, f"chown {os.getuid()}"),
    ],
)
Spoil = Callable[[Path], None]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of the test's own, with nothing in it."""
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("XDG_STATE_HOME", str(made / "state"))
    return made


def written(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def refused(work: Callable[[], object]) -> BadInput:
    with pytest.raises(BadInput) as caught:
        work()
    assert caught.value.exit_code == 2
    return caught.value


@SPOILT
def test_a_fleet_file_that_others_could_have_written_is_refused(
    tmp_path: Path, spoil: Spoil, remedy: str
) -> None:
    file = written(tmp_path / "fleet.toml", FLEET)
    assert config.load(file).hosts
    spoil(file)
    error = refused(lambda: config.load(file))
    assert str(file) in error.sentence
    assert remedy in error.remedy


@SPOILT
@pytest.mark.parametrize("which", ["ssh_config", "included"])
def test_an_ssh_config_that_others_could_have_written_is_refused(
    tmp_path: Path, which: str, spoil: Spoil, remedy: str
) -> None:
    named = written(tmp_path / "ssh_config", f"Host a\n  Include {tmp_path}/more/inc*\n")
    written(tmp_path / "more" / "included", "ProxyCommand sh -c anything\n")
    file = written(tmp_path / "fleet.toml", f'ssh_config = "ssh_config"\n{FLEET}')
    assert config.load(file).hosts[0].ssh_config == str(named)
    spoilt = named if which == "ssh_config" else tmp_path / "more" / "included"
    spoil(spoilt)
    error = refused(lambda: config.load(file))
    assert str(spoilt) in error.sentence
    assert remedy in error.remedy


def test_the_users_own_ssh_config_is_looked_at_when_none_is_named(home: Path) -> None:
    own_configs(None)
    file = written(home / ".ssh" / "config", "Include more\n")
    other = written(home / ".ssh" / "more")
    own_configs(None)
    writable_by_group(other)
    assert str(other) in refused(lambda: own_configs(None)).sentence
    writable_by_all(file)
    fleet = config.from_uris(("qemu+ssh://a/system",))
    assert str(file) in refused(lambda: config.with_own_files(fleet)).sentence


def test_a_config_that_includes_itself_ends(home: Path) -> None:
    written(home / ".ssh" / "config", "Include config ~/.ssh/config\nInclude '\n")
    own_configs(None)


def test_a_named_ssh_config_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    file = written(tmp_path / "fleet.toml", f'ssh_config = "none"\n{FLEET}')
    assert "cannot be read" in refused(lambda: config.load(file)).sentence


def test_a_fifo_in_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fleet.toml", 0o600)
    assert "is not a file" in refused(lambda: config.load(tmp_path / "fleet.toml")).sentence


@SPOILT
@pytest.mark.parametrize(
    "name",
    [
        "engine.lock",
        "engine.log",
        "history.jsonl",
        "journal.db",
        "journal.db-wal",
        "open/20260101-1.json",
        "open",
        ".",
    ],
)
def test_a_state_file_that_others_could_have_written_is_refused(
    name: str, spoil: Spoil, remedy: str
) -> None:
    path = paths.state_directory() / name
    if not path.suffix and name in ("open", "."):
        path.mkdir(mode=0o700, exist_ok=True)
    else:
        written(path)
    paths.state_directory()
    spoil(path)
    error = refused(paths.state_directory)
    assert str(path) in error.sentence
    assert remedy in error.remedy
    assert refused(paths.socket_path).sentence == error.sentence


def test_a_state_file_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (paths.state_directory() / "history.jsonl").symlink_to(written(tmp_path / "other"))
    assert "is a link" in refused(paths.state_directory).sentence


def test_a_state_directory_that_is_somebody_elses_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "virt-ferry").symlink_to(tmp_path / "real")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert "is a link" in refused(paths.state_directory).sentence


def test_the_state_directory_is_made_for_its_user_alone() -> None:
    assert paths.state_directory().stat().st_mode & 0o777 == 0o700
