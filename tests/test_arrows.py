"""Who may import whom: one table of rooms, held against every import in the source, lazy and type-only ones included.

`docs/architecture.md` draws this table: `python tests/draw_rooms.py` makes the picture anew.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from ablate.stages.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ablate", "objectives", "encoders", "analysis")

# A room is a folder, or a file that stands above or below the folders beside it. A room may import itself, and these;
# "x" in a room's list allows the folder x and none of the folders in it.
KERNEL = ("encoders", "objectives")
BELOW_TASKS = ("ablate.errors", "ablate.store", "ablate.data", "ablate.data.registry", "ablate.training", *KERNEL)
ALL_TASKS = (
    *BELOW_TASKS,
    "ablate.tasks",
    "ablate.tasks.scoring",
    "ablate.tasks.supervised",
    "ablate.tasks.measured",
    "ablate.tasks.registry",
)
RECORDS = (
    "ablate.errors",
    *(f"ablate.store.{name}" for name in ("record", "declared", "files", "child", "disk")),
)
ARROWS: dict[str, tuple[str, ...]] = {
    "encoders": (),
    "objectives": ("encoders",),
    "ablate.errors": (),
    "ablate.store": ("ablate.errors",),
    "ablate.data": ("ablate.errors", "ablate.store", "encoders"),
    "ablate.data.builtin": ("ablate.errors", "ablate.store", "ablate.data", "encoders"),
    "ablate.data.real.layouts": ("ablate.errors", "ablate.data", "encoders"),
    "ablate.data.real": ("ablate.errors", "ablate.store", "ablate.data", "ablate.data.real.layouts", "encoders"),
    "ablate.data.registry": ("ablate.data", "ablate.data.builtin", "ablate.data.real"),
    "ablate.training": ("ablate.errors", "ablate.store", *KERNEL),
    "ablate.tasks": BELOW_TASKS,
    "ablate.tasks.scoring": (*BELOW_TASKS, "ablate.tasks"),
    "ablate.tasks.supervised": (*BELOW_TASKS, "ablate.tasks", "ablate.tasks.scoring"),
    "ablate.tasks.measured": (*BELOW_TASKS, "ablate.tasks", "ablate.tasks.scoring"),
    "ablate.tasks.registry": ALL_TASKS[:-1],
    "ablate.sweepfile": ALL_TASKS,
    "ablate.stages": ALL_TASKS,
    "ablate.stages.registry": (*ALL_TASKS, "ablate.stages"),
    "ablate.stages.execute": (*ALL_TASKS, "ablate.stages", "ablate.stages.registry"),
    "ablate.planning": (
        *ALL_TASKS,
        "ablate.stages",
        "ablate.stages.registry",
        "ablate.sweepfile",
        "ablate.clusters.resources",
    ),
    "ablate.clusters": ("ablate.errors", "ablate.store", "ablate.clusters.resources"),
    "ablate.clusters.resources": ("ablate.errors",),
    "ablate.clusters.slurm": ("ablate.errors", "ablate.store", "ablate.clusters", "ablate.clusters.resources"),
    "ablate.clusters.registry": ("ablate.errors", "ablate.clusters", "ablate.clusters.slurm"),
    "analysis.records": RECORDS,
    "analysis.statistics": (*RECORDS, "analysis.records"),
    "analysis.tables": (*RECORDS, "analysis.records", "analysis.statistics"),
    "analysis.figures": (*RECORDS, "analysis.records", "analysis.statistics"),
    "analysis.page": (
        *RECORDS,
        "analysis.records",
        "analysis.statistics",
        "analysis.tables",
        "analysis.figures",
    ),
    "analysis": (
        *RECORDS,
        "analysis.records",
        "analysis.statistics",
        "analysis.tables",
        "analysis.figures",
        "analysis.page",
    ),
}
COMMANDS = ("ablate", "ablate.bench", "ablate.bench.gpu")  # stand above all: they may import every room
COMMAND_FILES = {  # of `ablate` itself; and those in a folder that `python -m` calls by it
    "ablate",
    "ablate.describe",
    "ablate.drive",
    "ablate.new",
    "ablate.predict",
    "ablate.prune",
    "ablate.sweep",
    "ablate.transcribe",
    "ablate.until",
    "ablate.variants",
    "ablate.warm",
    "ablate.data.builtin.__main__",
    "ablate.planning.jsonschema",
}
TORCH = {"torch", "torchaudio", "xformers", "safetensors", "transformers", "lightning"}  # and what loads it
TORCHLESS = ("ablate.errors", "ablate.store", "ablate.clusters", "analysis")  # with all the rooms in them
STANDARD = ("ablate.errors", "ablate.store")  # the standard library only
RUNNERS = tuple(f"ablate.{room}" for room in ("planning", "stages", "training", "clusters", "sweepfile", "tasks"))
HOMES = {  # library -> the only files that import it
    "hydra": {"ablate/sweepfile/load.py"},
    "omegaconf": {"ablate/sweepfile/load.py"},
    "submitit": {"ablate/clusters/slurm/sbatch.py", "ablate/clusters/slurm/job.py"},
    "xformers": {"encoders/kernels.py"},
    "jiwer": {"ablate/tasks/scoring/metrics.py"},
    "sacrebleu": {"ablate/tasks/scoring/metrics.py"},
}


@cache
def modules() -> dict[str, Path]:
    """Every file of the source by the name it is imported by."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def room(module: str) -> str:
    """The room that a module is in: its own name where the table has it, a folder's otherwise; or the commands'."""
    if module in COMMAND_FILES:
        return COMMANDS[0]
    rooms = (*ARROWS, *COMMANDS)
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if module in rooms else package


def imported(path: Path) -> set[str]:
    """Names that a file imports, anywhere in it: modules, and "module.name" for what is taken from one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            found |= {part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)}
    return found


@cache
def arrows() -> dict[str, set[str]]:
    """For every module the modules of this project that it imports."""
    found = {}
    for module, path in modules().items():
        names = {name if name in modules() else name.rpartition(".")[0] for name in imported(path)}
        found[module] = (names & modules().keys()) - {module}
    return found


def libraries(module: str) -> set[str]:
    """Top-level names of all that a module imports."""
    return {name.partition(".")[0] for name in imported(modules()[module])}


def within(module: str, rooms: tuple[str, ...]) -> bool:
    """Whether a module is one of these or below one of them."""
    return module in rooms or module.startswith(tuple(f"{one}." for one in rooms))


def test_every_module_is_in_a_room_of_the_table():
    assert {room(module) for module in modules()} == {*ARROWS, *COMMANDS}


def test_what_stands_in_no_folder_is_known_by_name():
    """A file there may import everything: a new one is a new command."""
    loose = {module for module in modules() if room(module) == "ablate"}
    assert loose == COMMAND_FILES


def test_no_import_goes_against_the_arrows():
    wrong = []
    for module, targets in arrows().items():
        own = room(module)
        for target in targets if own not in COMMANDS else ():
            allowed = (own, *ARROWS[own])
            if room(target) not in allowed and target not in allowed:
                wrong.append(f"{module} imports {target}")
    assert not wrong, "\n".join(sorted(wrong))


def test_the_table_itself_has_no_circle():
    assert circles({own: {*targets} for own, targets in ARROWS.items()}) == []


def test_no_files_import_each_other_in_a_circle():
    assert circles(arrows()) == []


def test_commands_alone_import_the_analysis():
    for module, targets in arrows().items():
        if not within(module, ("analysis",)) and any(within(target, ("analysis",)) for target in targets):
            assert room(module) in COMMANDS, module


def test_some_rooms_know_nothing_of_torch():
    for module in modules():
        if within(module, TORCHLESS) and room(module) not in COMMANDS:
            assert not libraries(module) & {*TORCH, "encoders", "objectives"}, module
        if within(module, STANDARD):
            assert libraries(module) <= {*sys.stdlib_module_names, "ablate"}, module


def test_objectives_see_only_the_encoders_contract():
    for module, targets in arrows().items():
        if within(module, ("objectives",)):
            seen = {target for target in targets if within(target, ("encoders",))}
            contract = ("batch", "choices", "encoding", "owner", "precision", "ranges", "seeds")
            assert seen <= {f"encoders.{name}" for name in contract}, (module, seen)


def test_who_runs_extensions_asks_for_what_their_contracts_have():
    """No hasattr, no getattr with a default, no isinstance of a class of ours: abstract classes say what is asked."""
    wrong, ours = [], tuple(f"{package}." for package in PACKAGES)
    for module in modules():
        if not within(module, RUNNERS):
            continue
        tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
        taken = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module.startswith(ours)
            for alias in node.names
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, text = ast.unparse(call.func), ast.unparse(call)
            classes = (
                {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)} & taken
                if name == "isinstance"
                else ()
            )
            if name == "hasattr" or (name == "getattr" and len(call.args) == 3) or classes:
                wrong.append(f"{module}: {text}")
    assert wrong == []


def test_who_runs_extensions_knows_no_kind_of_stage_by_name():
    wrong = []
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if within(module, RUNNERS) else ():
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            strings = {part.value for one in sides for part in ast.walk(one) if isinstance(part, ast.Constant)}
            if strings & {*KINDS} and any(re.search(r"\bkind\b", ast.unparse(one)) for one in sides):
                wrong.append(f"{module}: {ast.unparse(node)}")
    assert wrong == []


def test_libraries_live_in_one_place():
    for module, path in modules().items():
        where = path.relative_to(ROOT).as_posix()
        for library in libraries(module) & set(HOMES):
            assert where in HOMES[library], f"{where} imports {library}"
        assert "seaborn" not in libraries(module) or within(module, ("analysis.figures",)), where


def test_the_formatter_is_overruled_in_ten_places_at_most():
    paths = [*(path for path in modules().values()), *sorted((ROOT / "tests").rglob("*.py"))]
    marks = sum(path.read_text(encoding="utf-8").count(f"# fmt: {mark}") for path in paths for mark in ("skip", "off"))
    assert marks <= 10


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"d2"}, "d2": {"d"}}, [["a", "b", "c"], ["d", "d2"]]),
    ],
)
def test_circles_are_found(graph, expected):
    assert circles(graph) == expected


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other, sorted; nodes of which nothing is said lead nowhere."""
    reach = {node: set(targets) for node, targets in graph.items()}
    while True:
        grown = {node: found.union(*(reach.get(one, ()) for one in found)) for node, found in reach.items()}
        if grown == reach:
            break
        reach = grown
    groups = {tuple(sorted(one for one in reach[node] if node in reach.get(one, ()))) for node in reach}
    return sorted(list(group) for group in groups if group)
