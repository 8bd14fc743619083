"""The bench of the time left runs a sweep, and prints what was said beside what was true."""

import fakes
import pytest

from ablate.bench import remaining


@pytest.mark.slow
def test_a_sweep_is_run_and_its_estimates_are_listed(tmp_path, monkeypatch, capsys):
    file = tmp_path / "small.yaml"
    file.write_text(fakes.SWEEP)
    monkeypatch.setattr(remaining, "SWEEP", file)
    assert remaining.main(["--whole", "--root", str(tmp_path / "runs"), "workers=1"]) in (0, 1)  # as near as it came
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("small, ") and " stages on 1 worker" in said[0]
    shares = [line.split("|")[1].strip() for line in said if line.startswith("| ") and "%" in line]
    assert shares == [f"{share:.0%}" for share in remaining.SHARES]
    assert (tmp_path / "runs").is_dir()
