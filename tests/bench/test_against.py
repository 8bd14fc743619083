"""`--against COMMIT`: both sides in turns, ratios round by round, and no checkout that stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ablate.bench import __main__ as command
from ablate.bench import against, plan
from ablate.bench.against import Ratio, alternating, line, sides
from ablate.errors import UserError

STAND_IN = {  # a bench that answers at once: {rate} units a second, a share of .5, 2 GB
    "ablate/__init__.py": "",
    "ablate/bench/__init__.py": "",
    "ablate/bench/measure.py": """
from types import SimpleNamespace
WORKER_ENVIRONMENT, THREADS = {{"SIDE": "{rate}"}}, {{}}
SYSTEMS = {{"text": [SimpleNamespace(name=name, needs=needs) for name, needs in {systems}]}}
def _serve(connection, workload, shape, name):
    import os
    while True:
        task, order = connection.recv()
        if name == "broken":
            connection.send("Traceback\\nValueError: broken by hand")
        connection.send(() if task == "warm" else (float(os.environ["SIDE"]), 0.5, 2.0))
""",
    "ablate/bench/plan.py": """
from pathlib import Path
def command(overrides):
    (root,) = (Path(o.removeprefix("root=")) for o in overrides if o.startswith("root="))
    return ({rate}, 1.0) if (root / "made").exists() else (2 * {rate}, 1.0)
def submitted(plan, root, resources):
    raise RuntimeError("asked the queue")
def measure(runs, root, resources):
    print("prints")
    command([f"seeds={{runs}}", f"root={{root}}"])
    submitted(None, root, resources)
    root.mkdir(parents=True)
    (root / "made").write_text("")
    command([f"seeds={{runs}}", f"root={{root}}"])
""",
}
OURS = [("ours", ""), ("new", ""), ("broken", ""), ("peer", "json")]


def write(folder: Path, rate: float, systems: list) -> None:
    for name, text in STAND_IN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.format(rate=rate, systems=systems))


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository whose first commit has no bench, whose second, "old", is half as fast as the files that lie
    there.
    """
    folder, temporary = tmp_path / "code", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "nothing")
    git(folder, "tag", "empty")
    write(folder, 50.0, [one for one in OURS if one[0] != "new"])
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "bench")
    git(folder, "tag", "old")
    write(folder, 100.0, OURS)
    monkeypatch.setattr(against, "HERE", folder)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return folder


def left(repository: Path) -> list[str]:
    """What lies in the temporary folder, and worktrees beside the first."""
    return [*os.listdir(repository.parent / "temporary"), *git(repository, "worktree", "list").splitlines()[1:]]


def test_order_alternates_and_answers_stay_with_their_side():
    asked, said = [], []

    def ask(side: int, question: str) -> tuple[int, str, int]:
        asked.append((side, question))
        return side, question, len(asked)

    answers = alternating(ask, ("a", "b"), 3, said.append)
    one, other = [(0, "a"), (1, "a"), (0, "b"), (1, "b")], [(1, "a"), (0, "a"), (1, "b"), (0, "b")]
    assert asked == one + other + one
    assert answers["a"] == [((0, "a", 1), (1, "a", 2)), ((0, "a", 6), (1, "a", 5)), ((0, "a", 9), (1, "a", 10))]
    assert [(n[0], m[0]) for n, m in answers["b"]] == [(0, 1)] * 3
    assert [text.partition(";")[0] for text in said] == ["round 1 of 3", "round 2 of 3", "round 3 of 3"]
    assert said[-1].endswith("; 0 s left")


def test_ratios_by_hand():
    """Round by round 2, 4 and 1: the median is theirs, not that of medians (60 to 20, which is 3)."""
    pairs = [(100.0, 50.0), (60.0, 15.0), (20.0, 20.0)]
    assert Ratio.of(pairs) == Ratio(2.0, 1.0, 4.0) and str(Ratio.of(pairs)) == "2.00× (1.00 to 4.00)"
    rounds = [
        ((100.0, 0.5, 1.0), (50.0, 0.5, 2.0)),
        ((60.0, 0.5, 1.5), (15.0, 0.5, 2.0)),
        ((20.0, 0.5, 1.0), (20.0, 0.5, 2.0)),
    ]
    row = line("X", "packed", rounds)
    assert row == "| X | packed | 60.0 | 20.0 | 2.00× (1.00 to 4.00) | 1.50 | 2.00 | 0.50× (0.50 to 0.75) |"


def test_systems_of_both_sides_each_in_its_own_code(repository, capsys):
    """Ours that both have; the old side's own environment and files are used; peers where they are named."""
    (table,) = against.steps("old", ["text"], ["nano"], 2, ["ours"])
    assert "| ours | packed | 100.0 | 50.0 | 2.00× (2.00 to 2.00) | 2.00 | 2.00 | 1.00× (1.00 to 1.00) |" in table
    assert f"against commit {git(repository, 'rev-parse', 'old')[:10]}" in table and "Load " in table
    assert "text, nano: ours (1 of 1): round 2 of 2; 0 s left" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"--against: no system of text on both sides fits; did you mean 'new'\?"):
        list(against.steps("old", ["text"], ["nano"], 1, ["new"]))
    assert left(repository) == []


def test_a_system_that_fails_is_named_and_the_checkout_removed(repository, capsys):
    assert command.main(["text", "--shapes", "nano", "--against", "old"]) == 2
    assert "error: this code (" in (said := capsys.readouterr().err)
    assert "cannot be measured: ValueError: broken by hand; the whole message is above." in said
    assert left(repository) == []


def test_planning_is_measured_on_both_sides(repository):
    (table,) = against.plans("old", 7, 3)
    assert "| planned | 200.00 | 100.00 | 2.00× (2.00 to 2.00) |" in table  # nothing lies where it is planned first
    assert "| planned again | 100.00 | 50.00 | 2.00× (2.00 to 2.00) |" in table
    assert left(repository) == []


@pytest.mark.parametrize(
    ("commit", "message"),
    [
        ("olf", r"this repository has no commit 'olf'; did you mean 'old'\? `git log --oneline` lists commits."),
        (
            "empty",
            r"commit \w{10} has no ablate/bench/measure.py, so it cannot be measured; it came with commit \w{7,}\.",
        ),
        ("old:ablate", "this repository has no commit 'old:ablate'"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(repository, commit, message):
    with pytest.raises(UserError, match=message), sides(commit, "ablate/bench/measure.py"):
        raise AssertionError("not reached")
    assert left(repository) == []


def test_without_git_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(against, "HERE", tmp_path)
    assert plan.main(["--against", "old"]) == 2
    assert f"but {tmp_path} is no git checkout, or git is not installed" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plan.main(["--against", "old"]) == 2
    assert "git is not installed; clone the repository." in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_leave_nothing_behind(repository, number):
    """Neither the checkout nor a process, which would go on measuring."""
    code = (
        "import sys, time, tempfile; from pathlib import Path; from ablate.bench import against\n"
        f"against.HERE, tempfile.tempdir = Path({str(repository)!r}), {str(repository.parent / 'temporary')!r}\n"
        "def tables():\n"
        "    with against.sides('old', 'ablate/bench/plan.py') as (_, old):\n"
        "        slow = 'import os, time; print(os.getpid(), flush=True); time.sleep(99)'\n"
        "        with against.process(old, slow, [], {}) as ask:\n"
        "            ask(None)\n"
        "    yield 'not reached'\n"
        "sys.exit(against.told(tables()))\n"
    )
    root = Path(against.__file__).resolve().parents[2]
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    child = int(driver.stdout.readline())
    assert len(left(repository)) == 1
    driver.send_signal(number)
    assert driver.wait(20) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    driver.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists() and left(repository) == []


@pytest.mark.slow
def test_entries_that_older_checkouts_are_asked_by(capsys):
    """This very code as the commit: what is committed has the entries, and both sides are about as fast."""
    assert (
        command.main(["text", "--shapes", "nano", "--rounds", "2", "--only", "ablate transformer", "--against", "HEAD"])
        == 0
    )
    assert "| ablate Transformer | packed |" in capsys.readouterr().out
    assert plan.main(["--runs", "100", "--rounds", "2", "--against", "HEAD"]) == 0
    assert "| planned again |" in capsys.readouterr().out
