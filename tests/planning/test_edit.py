"""What an edit of a sweep file changes, against the file as a commit has it."""

import subprocess

import pytest
from fake_registry import registry

from ablate.errors import UserError
from ablate.planning import edit
from ablate.planning.plan import plan_file

PARENT = """\
base:
  encoder: nano
  pretrain: {objectives: {masked_text: 1.0}, steps: 10, decay: 2, update: {text: 100}}
rows: {one: {}, two: {after: one}}
tasks: []
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a sweep that extends another, and how to commit there."""

    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments], check=True)

    def planned(path, overrides, asking, quick):
        return plan_file(path, overrides, asking=asking, registry=registry(), quick=quick)

    monkeypatch.setattr(edit, "plan_file", planned)
    git("init", "-q")
    (tmp_path / "parent.yaml").write_text(PARENT)
    (tmp_path / "child.yaml").write_text("extends: parent.yaml\nseeds: [0, 1]\n")
    git("add", "-A")
    git("commit", "-qm", "first")
    return tmp_path


def test_an_edit_is_told_by_rows_settings_and_stages(repository):
    (repository / "parent.yaml").write_text(PARENT.replace("two: {after: one}", "three: {pretrain: {decay: 3}}"))
    lines = edit.edited(str(repository / "child.yaml"), "HEAD")
    assert lines[:2] == ["rows added: three", "rows dropped: two"]
    # of two seeds each: leaf and held-out losses of three, whose trunk is that of one; trunk, leaf and losses of two
    assert lines[2].startswith("stages: 4 new, 6 no longer needed, ")


def test_settings_of_a_row_that_stays_are_named(repository):
    (repository / "child.yaml").write_text("extends: parent.yaml\nseeds: [0, 1]\nbase: {pretrain: {steps: 20}}\n")
    lines = edit.edited(str(repository / "child.yaml"), "HEAD")
    assert "one:" in lines and "    pretrain.steps: 10 → 20" in lines


def test_with_quick_the_small_sweeps_are_compared(repository, monkeypatch):
    monkeypatch.setattr(edit, "plan_file", plan_file)  # of presets whose data can be small
    (repository / "parent.yaml").write_text(PARENT.replace("steps: 10", "steps: 400"))
    child = str(repository / "child.yaml")
    # a twentieth of 400 updates, but 10 of 10 as that is the least
    assert "    pretrain.steps: 10 → 20" in edit.edited(child, "HEAD", quick=True)
    assert "    pretrain.steps: 10 → 400" in edit.edited(child, "HEAD")


def test_no_edit_is_no_difference(repository):
    (line,) = edit.edited(str(repository / "child.yaml"), "HEAD")
    assert line.startswith("stages: 0 new, 0 no longer needed")


def test_what_git_does_not_have_is_said(repository):
    with pytest.raises(UserError, match="git does not show .*child.yaml at that commit: .*nosuch"):
        edit.edited(str(repository / "child.yaml"), "nosuch")


def test_a_row_in_a_commits_place_is_said(repository):
    with pytest.raises(UserError, match="--diff: 'two' is a row; name another row beside it"):
        edit.edited(str(repository / "child.yaml"), "two")


def test_a_mistake_in_the_committed_file_is_told_of_that_file(repository):
    parent = repository / "parent.yaml"
    parent.write_text(PARENT.replace("decay", "decai"))
    subprocess.run(
        ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e", "commit", "-qam", "bad"], check=True
    )
    parent.write_text(PARENT)
    with pytest.raises(UserError) as error:
        edit.edited(str(repository / "child.yaml"), "HEAD")
    assert str(error.value).startswith(f"At HEAD: {parent}, line 3, column ")
