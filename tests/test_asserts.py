"""Nothing depends on an `assert` being run: python -O leaves them out, and does the same."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PURE = set("Path all any arange array_equal is_relative_to isinstance len map resolve sort sum values".split())


def test_asserts_only_look():
    files = [path for room in ("ablate", "analysis", "encoders", "objectives") for path in (ROOT / room).rglob("*.py")]
    asserts = [
        (path, one) for path in files for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Assert)
    ]
    assert len(asserts) > 15
    for path, one in asserts:
        parts = list(ast.walk(one.test))
        called = {
            getattr(part.func, "attr", getattr(part.func, "id", "")) for part in parts if isinstance(part, ast.Call)
        }
        assert called <= PURE and not any(isinstance(part, ast.NamedExpr) for part in parts), (path, one.lineno)
