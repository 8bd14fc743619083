"""Another kind of cluster is a file and a line: a toy runs a sweep from the command to the report."""

import ast
import inspect
from pathlib import Path

import cluster
import fakes
import pytest

from ablate import sweep
from ablate.clusters import registry
from ablate.clusters.cluster import AbstractCluster
from ablate.clusters.pool import AbstractPool
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import BLOCKED, DONE, FAILED, Board
from ablate.clusters.slurm.cluster import Slurm
from ablate.errors import UserError

del registry.CLUSTERS["thread"]  # importing the toy registered it: it is there only for tests that ask for it
TOY = Path(cluster.__file__)
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extend" / "cluster.md"


@pytest.fixture
def toy():
    """The toy, registered as its file does it."""
    registry.register("thread", cluster.Threads)
    yield cluster.Threads
    del registry.CLUSTERS["thread"]


def test_a_toy_runs_a_sweep_to_its_report(toy, tmp_path, capsys):
    file = tmp_path / "small.yaml"
    file.write_text(fakes.SWEEP)
    assert sweep.main([str(file), f"root={tmp_path / 'runs'}", "cluster=thread"]) == 0
    said = capsys.readouterr().out
    assert "left on 1 worker" in said and (tmp_path / "runs" / "sweeps" / "small" / "report.html").exists()
    assert sweep.main([str(file), f"root={tmp_path / 'runs'}", "cluster=thread", "--cancel"]) == 2
    assert "add cluster=slurm." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sweep.main(["--help"])
    assert "local: a pool of workers (default)" in (said := capsys.readouterr().out)
    assert "thread: in threads of the command" in said


def test_the_help_says_which_kinds_ask_for_resources_and_go_on_without_the_command(monkeypatch, capsys):
    class Elsewhere(Slurm):
        """Jobs of another queue."""

    class Deaf(Elsewhere):
        """The same, and it asks for nothing and retries nothing."""

        asks, retry = False, AbstractCluster.retry

    monkeypatch.setitem(registry.CLUSTERS, "elsewhere", Elsewhere)
    monkeypatch.setitem(registry.CLUSTERS, "deaf", Deaf)
    with pytest.raises(SystemExit):
        sweep.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "resources.NAME=VALUE for slurm or elsewhere: mem_gb" in said
    assert "for slurm or elsewhere or deaf: cancel this" in said and "deaf: submit and return" in said
    assert "for slurm or elsewhere: run what failed again" in said


def test_a_failure_in_a_thread_blocks_what_needs_it(toy, tmp_path):
    s = fakes.stage
    board = Board(fakes.write(tmp_path, s("aa"), s("bb", do="fail"), s("cc", "bb"), s("dd", "aa")), tmp_path)
    toy(board, "fakes", Resources({}, fakes.KINDS), fakes.PROGRAM, 2).run(lambda _: None, lambda: 0)
    assert board.state == {"aa": DONE, "bb": FAILED, "cc": BLOCKED, "dd": DONE}
    assert board.why["bb"] == "RuntimeError: a deliberate failure"


class Half(AbstractPool):
    """Says how a stage begins, and not how it ends."""

    def start(self, id):
        """Start nothing."""


class Lasting(AbstractCluster):
    """Its jobs outlive the command, and nobody can cancel them."""

    about = "somewhere"
    outlives = True

    def submit(self):
        """Submit nothing."""

    def follow(self):
        """Follow nothing."""

    def look(self):
        """See nothing."""


@pytest.mark.parametrize(
    "kind, lacks",
    [
        (Half, r"lacks ended, about; AbstractCluster says"),
        (Lasting, r"lacks cancel, detach, parting;"),
        (Path, r"is no AbstractCluster; derive it"),
    ],
)
def test_a_class_that_lacks_something_is_refused_with_its_place(kind, lacks):
    line = inspect.getsourcelines(kind)[1]
    where = rf"cluster 'half': {kind.__name__} \(.*{Path(inspect.getsourcefile(kind)).name}, line {line}\) "
    with pytest.raises(UserError, match=where + lacks):
        registry.register("half", kind)
    assert "half" not in registry.CLUSTERS


def test_a_name_is_given_once(toy):
    with pytest.raises(UserError, match=r"cluster 'local': Local \(.*local\.py, line \d+\) has that name"):
        registry.register("local", toy)
    registry.register("thread", toy)


def test_nobody_asks_which_kind_it_is():
    """What sets kinds apart is said by their classes: no name is compared, nothing is looked for that may be absent."""
    driving = [
        ROOT / "ablate" / "drive.py",
        ROOT / "ablate" / "sweep.py",
        *(ROOT / "ablate" / "clusters").rglob("*.py"),
    ]
    for path in [*driving, *(ROOT / "ablate" / "planning").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = {side.value for side in ast.walk(node) if isinstance(side, ast.Constant)}
                assert not sides & registry.CLUSTERS.keys(), (path, node.lineno)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and path in driving:
                asked = (node.func.id, len(node.args))
                assert asked[0] != "hasattr" and asked != ("getattr", 3), (path, node.lineno)
                if asked[0] == "isinstance":
                    kinds = {one.id for one in ast.walk(node.args[1]) if isinstance(one, ast.Name)}
                    assert kinds <= {"bool", "dict", "float", "int", "list", "str", "tuple", "Mapping", "OSError"}
