"""The engine's clock is passed in: the machine's is named at one place."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE_AT = "backend/service/__main__.py"
LAB = "backend/lab"
"""Stands in for machines: certificates of its own, judged by the machine's clock."""
TELLING = {
    *("time.time", "time.time_ns", "time.clock_gettime", "time.clock_gettime_ns"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
}
OF_NOW_WITHOUT = {"time.localtime": 0, "time.gmtime": 0, "time.ctime": 0, "time.strftime": 1}
"""What tells of now when it is called with so many arguments only."""


def looks_at_the_clock(source: str) -> list[str]:
    """Each place that takes the time of day from the machine."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"time.{one.name}" for one in node.names if f"time.{one.name}" in TELLING]
        elif isinstance(node, ast.Attribute) and _last_two(node) in TELLING:
            found.append(_last_two(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = _last_two(node.func)
            if OF_NOW_WITHOUT.get(name) == len(node.args):
                found.append(name)
    return found


def _last_two(node: ast.Attribute) -> str:
    """`datetime.now` of `datetime.datetime.now`, too."""
    return ".".join(ast.unparse(node).split(".")[-2:])


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\nx = time.time()", ["time.time"]),
        ("def f(now=time.time): ...", ["time.time"]),
        ("from time import monotonic, time", ["time.time"]),
        ("import datetime\nx = datetime.datetime.now(datetime.UTC)", ["datetime.now"]),
        ("x = datetime.now()", ["datetime.now"]),
        ("x = time.strftime('%H:%M')", ["time.strftime"]),
        ("x = time.strftime('%H:%M', time.localtime(at))", []),
        ("x = time.monotonic() - self.now()", []),
        ("program = 'print(time.time())'", []),
    ],
)
def test_a_look_at_the_clock_is_seen(source: str, found: list[str]) -> None:
    assert looks_at_the_clock(source) == found


def test_the_engine_has_one_clock() -> None:
    looks = {}
    for path in sorted((ROOT / "backend").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(f"{LAB}/") and (found := looks_at_the_clock(path.read_text())):
            looks[name] = found
    assert looks == {MADE_AT: ["time.time"]}
