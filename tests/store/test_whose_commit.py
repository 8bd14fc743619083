"""The commit in a record is that of this code, whatever repository the environment or a folder above points to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablate.store import version
from ablate.store.record import read_json
from ablate.training import checkpoint

HERE = Path(version.__file__).parents[2]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A repository with one commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    return tmp_path


def test_git_dir_of_another_repository_is_not_asked(other, monkeypatch):
    here = version._git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert version._git("rev-parse", "HEAD") == here
    assert not {"GIT_DIR", "GIT_WORK_TREE"} & version.own_repository().keys()


def test_a_copy_of_the_code_inside_another_repository_has_no_commit(other):
    for part in ("ablate/__init__.py", "ablate/errors.py", "ablate/store"):
        place = other / "copy" / part
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (HERE / part).is_dir() else shutil.copy)(HERE / part, place)
    told = "import json; from ablate.store.version import code_version; print(json.dumps(code_version()))"
    env = {name: text for name, text in version.own_repository().items() if name not in (version.CODE, "PYTHONPATH")}
    run = subprocess.run([sys.executable, "-c", told], cwd=other / "copy", env=env, capture_output=True, text=True)
    assert '"commit": null' in run.stdout, run.stderr


@pytest.mark.parametrize("text", ["", '{"step": 3, "fi'])
def test_a_record_that_was_cut_off_is_named_with_what_helps(tmp_path, text):
    (tmp_path / "checkpoint.json").write_text(text)
    for read in (lambda: checkpoint.load(tmp_path), lambda: read_json(tmp_path / "checkpoint.json")):
        with pytest.raises(
            ValueError, match=f"checkpoint.json is (empty|no JSON).*: remove the folder {tmp_path}, and"
        ):
            read()
