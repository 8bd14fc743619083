"""Who may import whom, and which library lives where: rules of the house, read from the source."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ablate", "objectives", "encoders", "analysis")
HOMES = {  # library -> where alone it may be imported
    "hydra": {"ablate/sweepfile/load.py"},
    "omegaconf": {"ablate/sweepfile/load.py"},
    "submitit": {"ablate/clusters/slurm/submit.py", "ablate/clusters/slurm/job.py"},
    "xformers": {"encoders/attention.py"},
    "jiwer": {"ablate/tasks/scoring/metrics.py"},
    "sacrebleu": {"ablate/tasks/scoring/metrics.py"},
}
DRIVER = ("sweep", "errors", "planning/again",
          *(f"store/{name}" for name in ("run", "lock", "record", "stage", "snapshot", "machine", "identity", "attempt", "files",
                                         "continuing", "__main__", "differ", "listing", "upgrade")),
          *(f"clusters/{name}" for name in ("schedule", "local", "display", "resources")),
          *(f"clusters/slurm/{name}" for name in ("submit", "pack", "controller", "failure", "journal", "job", "watch")))  # no torch at import


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_rooms_exist():
    for room in ROOMS:
        assert len(files(room)) > 1, room


def test_encoders_import_no_other_room():
    for path in files("encoders"):
        assert not tops(imports(path)) & {"objectives", "ablate", "analysis"}, path


def test_objectives_see_only_the_encoders_contract():
    allowed = {"encoders.batch", "encoders.encoding", "encoders.seeds", "encoders"}
    for path in files("objectives"):
        names = imports(path)
        assert not tops(names) & {"ablate", "analysis"}, path
        for name in names:
            if name.startswith("encoders"):
                assert any(name == a or name.startswith(a + ".") for a in allowed - {"encoders"}) or name == "encoders", (
                    f"{path} imports {name}"
                )


def test_analysis_sees_only_records_and_never_torch():
    for path in files("analysis"):
        names = imports(path)
        assert not tops(names) & {"torch", "encoders", "objectives"}, path
        for name in names:
            if name.startswith("ablate"):
                assert name in {"ablate", "ablate.store", "ablate.store.child", "ablate.store.record", "ablate.errors"} or name.startswith(
                    ("ablate.store.record.", "ablate.errors.")
                ), f"{path} imports {name}"


def test_libraries_live_in_one_place():
    for room in ROOMS:
        for path in files(room):
            where = path.relative_to(ROOT).as_posix()
            for library in tops(imports(path)) & set(HOMES):
                assert where in HOMES[library], f"{where} imports {library}"
            if "seaborn" in tops(imports(path)):
                assert room == "analysis", where


def test_driver_modules_import_no_torch_at_load():
    for name in DRIVER:
        path = ROOT / "ablate" / f"{name}.py"
        top = tops(imports(path, top_level_only=True))
        assert not top & {"torch", "numpy", "hydra", "omegaconf", "pandas", "encoders", "objectives"}, path


def test_no_file_is_over_330_lines():
    for room in (*ROOMS, "tests"):
        for path in files(room):
            limit = 330 if room != "tests" else 500
            assert len(path.read_text().splitlines()) <= limit, f"{path} is long: do two things live in one room?"
