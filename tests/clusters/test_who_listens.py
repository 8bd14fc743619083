"""Commands whose output nobody reads, whose terminal lacks letters, or whose folders cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ablate.clusters import local
from ablate.errors import UserError

SAYS = """
import sys
from ablate.store.child import unbroken
if __name__ == "__main__":
    unbroken()
    for n in range(9000):
        print("Jürgen", n)
    print("done", file=open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("closed", ["| head -n 1 > /dev/null", ">&-", "2>&1 | head -n 1 > /dev/null", "2>&-"])
def test_a_command_goes_on_when_its_reader_leaves(tmp_path, closed):
    call = f'{sys.executable} -c "$SAYS" {tmp_path}/done {closed}; exit ${{PIPESTATUS[0]}}'
    run = subprocess.run(["bash", "-c", call], env=os.environ | {"SAYS": SAYS}, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "done").read_text() == "done\n"


def test_letters_that_an_encoding_lacks_are_escaped(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SAYS, str(tmp_path / "done")],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.startswith(r"J\xfcrgen 0") and len(run.stdout.splitlines()) == 9000 and not run.stderr


def test_a_long_folder_of_temporary_files_is_named(monkeypatch):
    monkeypatch.setattr(local.tempfile, "tempdir", "/tmp/" + "d" * 90)
    with pytest.raises(UserError, match=r"has a path of 95 bytes, .* at most 75; set TMPDIR to a shorter one"):
        local.warm("os")


class Sender:
    def __init__(self, broken=False):
        self.sent, self.broken = None, broken

    def send(self, answer):
        if self.broken:
            raise BrokenPipeError
        self.sent = answer


def _refused(path):
    open(path)


def test_an_error_of_the_disk_while_planning_is_one_sentence(tmp_path):
    sender = Sender()
    local._answer(sender, _refused, (tmp_path / "gone",))
    worked, error = sender.sent
    assert not worked and isinstance(error, UserError) and str(error) == f"Cannot use {tmp_path / 'gone'}: it is gone."


def test_nobody_is_told_when_who_asked_is_gone():
    local._answer(Sender(broken=True), len, ("abc",))
