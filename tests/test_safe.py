"""YAML, checkpoints and records are data: nothing that is read from a file can run code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ablate", "encoders", "objectives", "analysis")
UNSAFE = {
    "yaml": {"load", "load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader", "FullLoader"},
    "torch": {"load", "save"},
    "pickle": {"load", "loads", "Unpickler"},
    "dill": None,
    "cloudpickle": None,
    "joblib": None,
    "shelve": None,
    "marshal": None,
    "pd": {"read_pickle"},
    "pandas": {"read_pickle"},
}
ALLOWED = {
    ("ablate/sweepfile/load.py", "yaml.load"),  # with a subclass of the safe loader; see the tests below
    ("ablate/clusters/resources.py", "yaml.load"),  # likewise
    ("ablate/data/builtin/espeak.py", "pickle.loads"),  # from a pipe to its own child
    ("ablate/data/loader.py", "pickle.loads"),  # likewise
    ("analysis/report.py", "pickle.loads"),  # from its own parent
}


def uses(path: Path) -> set[str]:
    """Unsafe names that a module calls or imports, and calls of eval and exec."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in UNSAFE:
            names = UNSAFE[node.value.id]
            if names is None or node.attr in names:
                found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module in UNSAFE:
            found |= {f"{node.module}.{a.name}" for a in node.names if a.name in (UNSAFE[node.module] or {a.name})}
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("eval", "exec", "__import__")
        ):
            found.add(node.func.id)
        elif (
            isinstance(node, ast.keyword) and node.arg == "allow_pickle"
        ):  # of numpy's load, which else reads data alone
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.add("allow_pickle")
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_no_reader_runs_what_it_reads(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    found = {(str(path.relative_to(ROOT)), use) for path in files for use in uses(path)}
    assert found <= ALLOWED, found - ALLOWED


def test_the_loader_of_sweep_files_is_a_safe_one(tmp_path):
    from ablate.errors import UserError
    from ablate.sweepfile import load

    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.system ['touch evil']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load.load(tmp_path / "evil.yaml")


def test_the_loader_of_profiles_is_a_safe_one(tmp_path):
    from ablate.clusters.resources import Resources
    from ablate.errors import UserError

    (tmp_path / "evil.yaml").write_text("partition: !!python/object/apply:os.system ['touch evil']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        Resources({"profile": str(tmp_path / "evil.yaml")}, {})


def test_the_scan_sees_what_it_is_for(tmp_path):
    (tmp_path / "bad.py").write_text(
        "import torch, yaml\nfrom pickle import loads\ntorch.load('x')\nyaml.unsafe_load('')\neval('1')\n"
    )
    assert uses(tmp_path / "bad.py") == {"torch.load", "yaml.unsafe_load", "pickle.loads", "eval"}
