"""Rows of the tables: hosts, VMs, migrations, targets; and which columns fit."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.model import (
    Band,
    Disk,
    Finding,
    Forecast,
    Host,
    HostState,
    Job,
    Migration,
    MoveOptions,
    Nic,
    Outcome,
    Outlook,
    Plan,
    Policy,
    Severity,
    TrackRecord,
    Verdict,
    Vm,
    VmState,
    Word,
)
from tui.render import host_rows, migration_rows, plan_rows, units, vm_rows
from tui.render.forecasts import course_text
from tui.render.host_rows import HostRow, short_reason
from tui.render.ink import Line, width_of
from tui.render.migration_lines import MigrationView
from tui.render.plan_rows import TargetRow
from tui.render.table import Column, fit_columns, header, row
from tui.render.vm_rows import VmRow

G = 1 << 30
NOW = 1_790_000_000.0
UP = Host(
    "kvm-a",
    HostState.UP,
    cpu_percent=41.4,
    memory_bytes=16 * G,
    memory_used_bytes=int(5.1 * G),
    link_out_bytes_s=23.8e6,
    link_in_bytes_s=0.1e6,
    migrations_out=1,
)
DOWN = Host("kvm-c", HostState.UNREACHABLE, "ssh: No route to host (10.0.0.3).", retry_at=NOW + 8)
VM = Vm("u-1", "db-1", "kvm-a", VmState.RUNNING, vcpus=2, cpu_percent=35, memory_bytes=G // 2)
POLICY = Policy("balanced", 300)
MOVING = Migration("m-1", "db-1", "u-1", "kvm-a", "kvm-b", NOW, POLICY)
VERDICT = Verdict(
    "m-1", "db-1", "kvm-a", "kvm-b", Outcome.MOVED, "kvm-b", "It runs there.", 27.4, 28.1, 84
)
WIDTHS = (80, 100, 120, 160, 200)


def host_text(of: HostRow, width: int = 120) -> str:
    return row(fit_columns(host_rows.COLUMNS, width), of, note=of.note()).text


def vm_text(of: VmRow, width: int = 120) -> str:
    return row(fit_columns(vm_rows.COLUMNS, width), of, note=of.note()).text


def test_a_host_that_is_up() -> None:
    text = host_text(HostRow(UP, 4, NOW))
    for part in ("● up", "███░░░░░  41%", "5.1/16 G", "23.8 / 0.1 MB/s", "1 out"):
        assert part in text


def test_a_host_that_does_not_answer_says_why_and_when() -> None:
    text = host_text(HostRow(DOWN, 1, NOW))
    assert "✕ no route" in text
    assert "ssh: No route to host (10.0.0.3)." in text
    assert "retry in 8 s" in text
    assert "trying now" in host_text(HostRow(DOWN, 1, NOW + 8))


def test_a_host_without_figures_shows_dashes() -> None:
    assert host_text(HostRow(Host("x", HostState.CONNECTING), 0, NOW)).count("–") >= 3


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("The host key is not known.", "host key"),
        ("Connection refused.", "refused"),
        ("It timed out.", "no answer"),
        ("Something else.", "unreachable"),
    ],
)
def test_reasons_in_short(reason: str, short: str) -> None:
    assert short_reason(reason) == short


def test_a_running_vm() -> None:
    vm = replace(
        VM,
        disks=(
            Disk("vda", source="/a", virtual_bytes=4 * G, shared=True),
            Disk("sda", device="cdrom", source="/iso"),
        ),
        nics=(Nic("52:54", "bridge", "br0"), Nic("52:55", "bridge", "br1")),
        writes_bytes_s=18e6,
        last_move_at=NOW - 200_000,
        last_pause_ms=84,
    )
    text = vm_text(VmRow(vm, NOW))
    for part in ("● running", "35%", "512 M", "18 MB/s", "shared 4 G", "br0 +1", "2 d, 84 ms"):
        assert part in text


@pytest.mark.parametrize(
    ("shared", "word"), [((True, False), "local"), ((True, None), "unproven"), ((), "none")]
)
def test_the_least_shared_disk_counts(shared: tuple[bool | None, ...], word: str) -> None:
    disks = tuple(Disk(f"vd{i}", source="/x", shared=one) for i, one in enumerate(shared))
    assert word in vm_text(VmRow(replace(VM, disks=disks), NOW))


def test_a_moving_vm_on_both_ends() -> None:
    assert "⇢ kvm-b  62%" in vm_text(VmRow(VM, NOW, True, MOVING, 0.629))
    there = replace(VM, host="kvm-b", state=VmState.PAUSED)
    assert "⇠ kvm-a" in vm_text(VmRow(there, NOW, True, MOVING, 0.629))


def test_no_percentage_is_promised_without_convergence() -> None:
    stuck = replace(MOVING, outlook=Outlook(Word.WILL_NOT_CONVERGE, "too many writes"))
    text = vm_text(VmRow(VM, NOW, True, stuck, 0.9))
    assert "! ⇢ kvm-b" in text
    assert "90%" not in text


def test_a_job_of_someone_else() -> None:
    vm = replace(VM, job=Job("migration out", 40.0))
    assert "⇢ moving  40%" in vm_text(VmRow(vm, NOW, job_progress=0.4))
    assert "⇢ backup" in vm_text(VmRow(replace(VM, job=Job("backup")), NOW))


def test_a_vm_nobody_owns_needs_the_operator() -> None:
    lost = replace(MOVING, verdict=replace(VERDICT, outcome=Outcome.SPLIT, owner=None))
    assert "✕ needs you" in vm_text(VmRow(VM, NOW, True, lost))


def test_a_vm_on_a_dead_host_is_as_last_seen() -> None:
    assert "? running" in vm_text(VmRow(VM, NOW, host_up=False))


def test_a_vm_whose_qemu_is_silent_says_so_in_its_row() -> None:
    shown = VmRow(replace(VM, trouble="Its QEMU does not answer libvirt."), NOW)
    text = vm_text(shown)
    assert "? running" in text
    assert "Its QEMU does not answer" in text
    assert VmRow(VM, NOW).note() is None


def columns_of(columns: tuple[Column[object], ...], width: int) -> set[str]:
    return {column.key for column, _ in fit_columns(columns, width).columns}


@pytest.mark.parametrize(
    "columns",
    [
        host_rows.COLUMNS,
        vm_rows.COLUMNS,
        migration_rows.COLUMNS,
        plan_rows.TARGET_COLUMNS,
        plan_rows.VM_COLUMNS,
    ],
)
def test_wider_never_shows_less(columns: tuple[Column[object], ...]) -> None:
    shown: set[str] = set()
    for width in WIDTHS:
        assert width_of(header(fit_columns(columns, width)).spans) <= width + 2
        assert shown <= columns_of(columns, width)
        shown = columns_of(columns, width)


def test_two_hundred_columns_gain_columns() -> None:
    assert columns_of(vm_rows.COLUMNS, 120) < columns_of(vm_rows.COLUMNS, 200)  # type: ignore[arg-type]
    assert "writes" in columns_of(vm_rows.COLUMNS, 80)  # type: ignore[arg-type]


@given(st.integers(60, 250), st.text(max_size=60))
def test_any_name_fits_its_row(width: int, name: str) -> None:
    fitted = fit_columns(vm_rows.COLUMNS, width)
    assert width_of(row(fitted, VmRow(replace(VM, name=name), NOW)).spans) <= max(width, 78) + 2


def test_a_hostile_name_shows_harmlessly() -> None:
    text = vm_text(VmRow(replace(VM, name="[red]x[/]\x1b[2J"), NOW))
    assert "[red]x[/][2J" in text
    assert "\x1b" not in text


def test_a_migration_as_a_row() -> None:
    fitted = fit_columns(migration_rows.COLUMNS, 120)
    text = row(fitted, MigrationView(MOVING, NOW + 21, progress=0.5)).text
    for part in ("kvm-a ⇢ kvm-b", "⇢ STARTING", "50%", "21 s"):
        assert part in text
    text = row(fitted, MigrationView(replace(MOVING, verdict=VERDICT), NOW)).text
    assert "✓ MOVED" in text
    assert "84 ms" in text


OK = Finding("cpu-ok", "cpu", Severity.OK, "all 41 features exist there")
WARN = Finding("older", "version", Severity.WARN, "libvirt there is older", "Upgrade it.")
BLOCK = Finding("no-bridge", "network", Severity.BLOCK, "br-dmz is missing", "Create it.")
FITS = Plan(
    "db-1",
    "u-1",
    "kvm-a",
    "kvm-b",
    (OK,),
    POLICY,
    forecast=Forecast(True, Band(24, 27, 31), Band(60, 84, 110), 5),
    fit=92,
    free_bytes=int(13.9 * G),
    summary="live, balanced, encrypted",
)
BLOCKED = replace(FITS, vm="db-2", uuid="u-2", findings=(OK, WARN, BLOCK), fit=None)


def target_text(*plans: Plan) -> str:
    return row(fit_columns(plan_rows.TARGET_COLUMNS, 120), TargetRow("kvm-b", plans)).text


def test_targets_say_what_fits() -> None:
    for part in ("✓ fits", "92", "13.9 G", "24–31 s, pause 60–110 ms"):
        assert part in target_text(FITS)
    assert "! fits" in target_text(replace(FITS, findings=(OK, WARN)))
    assert "✕ network" in target_text(BLOCKED)
    assert "! 1 of 2 fit" in target_text(FITS, BLOCKED)


def test_a_plan_that_will_not_converge_says_so() -> None:
    hopeless = replace(FITS, forecast=Forecast(False, needs="a faster link"))
    assert "! will not converge: a faster link" in target_text(hopeless)


def test_findings_come_worst_first_with_their_remedy() -> None:
    lines = [of.text for of in plan_rows.finding_lines(BLOCKED, 100)]
    assert [text[1] for text in lines] == ["✕", "!", "✓"]
    assert lines[0].endswith("br-dmz is missing  fix: Create it.")


def test_a_warning_stands_above_the_forecast_and_good_news_below_it() -> None:
    warned = replace(FITS, findings=(OK, WARN))
    lines = [of.text for of in plan_rows.finding_lines(warned, 100)]
    assert "libvirt there is older" in lines[0]
    assert lines[1].split()[0] == "forecast"
    assert lines[-1].startswith(" ✓ cpu")


def policy_text(plan: Plan, options: MoveOptions, width: int = 120) -> str:
    lines = plan_rows.policy_lines(plan, options, plan.policy.name, width)
    assert all(width_of(of.spans) <= width for of in lines)
    return "\n".join(of.text for of in lines)


def test_the_policy_line_shows_what_was_set() -> None:
    chosen = MoveOptions(pause_ms=180, bandwidth_bytes_s=25_000_000, deadline_s=90, hold=True)
    text = policy_text(replace(FITS, deadline_s=600.0), chosen)
    for part in ("◂ balanced ▸", "d pause ≤ 180 ms", "b bandwidth 25 MB/s", "deadline 1 m 30 s"):
        assert part in text
    assert "w hold ON" in text
    text = policy_text(replace(FITS, deadline_s=600.0), MoveOptions(at=NOW))
    assert "unlimited" in text
    assert "D deadline 10 m 00 s" in text
    assert f"t pause at {units.clock(NOW)}" in text
    assert "! plaintext" in policy_text(replace(FITS, encrypted=False), MoveOptions())


def test_no_limit_is_parted_from_its_key() -> None:
    for width in (60, 80, 100):
        text = policy_text(FITS, MoveOptions(), width)
        for part in ("d pause ≤", "D deadline none", "b bandwidth unlimited", "t pause as soon"):
            assert part in text


FORESEEN = replace(
    FITS,
    forecast=Forecast(
        True, Band(24, 27, 31), Band(60, 84, 110), 5, 612 << 20, basis="link learned: 25.0 MB/s"
    ),
    remarks=("No throttle is expected; should the VM get busy, it starts at 70 %.",),
    record=TrackRecord(12, 8.2, 91.7),
)


def details(plan: Plan, width: int = 120) -> str:
    return "\n".join(of.text.strip() for of in plan_rows.forecast_lines(plan, width))


def test_a_forecast_has_its_bands_its_basis_its_remarks_and_its_record() -> None:
    text = " ".join(details(FORESEEN).split())
    for part in (
        "forecast 24–31 s, most likely 27 s, then a pause of 60–110 ms",
        "course 5 passes, ~612 M to send, no throttle needed",
        "means No throttle is expected;",
        "rests on link learned: 25.0 MB/s",
        "so far over 12 moves: off by 8 % in the middle, 92 % inside the band",
    ):
        assert part in text
    assert "no move has been forecast yet" in details(FITS)


def test_a_forecast_that_fails_says_why_and_what_would_help() -> None:
    needs = "writes 30.0 MB/s, sends 24.0 MB/s; would help: a throttle of 60 %"
    hopeless = replace(FITS, forecast=Forecast(False, needs=needs))
    assert f"it will not converge: {needs}" in " ".join(details(hopeless).split())
    assert details(BLOCKED) == ""


def test_what_a_forecast_cannot_know_is_said() -> None:
    blind = Forecast(True, None, Band(60, 84, 110), needs="the link's speed is not known")
    text = details(replace(FITS, forecast=blind))
    assert "time not known, then a pause of 60–110 ms (the link's speed is not known)" in text


def test_post_copy_and_throttle_are_in_the_course() -> None:
    assert "finishes by post-copy" in course_text(Forecast(True, passes=1, post_copy=True))
    slowed = Forecast(True, passes=3, throttle_percent=70)
    assert course_text(slowed) == "3 passes, the VM slowed by 70 %"


def test_the_virsh_line_is_whole() -> None:
    virsh = (
        "virsh -c qemu+ssh://kvm-a/system migrate --live --p2p --tls db-1 qemu+tls://kvm-b/system"
    )
    lines: list[Line] = plan_rows.virsh_lines(replace(FITS, virsh=virsh), 60)
    assert " ".join(" ".join(of.text for of in lines).split()).endswith(virsh)
