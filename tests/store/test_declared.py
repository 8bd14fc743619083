"""claims.jsonl and looks.jsonl: what is added when, by whom, and that a merge keeps them."""

import json
import threading

import pytest
from test_merge import stage, sweep

from ablate import drive
from ablate.store import declared
from ablate.store.__main__ import main
from ablate.store.stage import Plan, materialise

CLAIM = {"effect": "a - b", "on": "asr", "above": 0, "coefficients": {"a": 1.0, "b": -1.0}}


def planned(root, claims, looks=None, width=8, label="a"):
    rows = {"a": {"width": width, "label": label}, "b": {}}
    about = {"rows": rows, "claims": claims, "table": {"blocks": []}, **({"looks": looks} if looks else {})}
    materialise(Plan("first", about, [], {}, {}, root=str(root)), root)
    return lines(root / "sweeps" / "first")


def lines(folder, name="claims.jsonl"):
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_line_is_added_only_when_something_declared_changes(tmp_path):
    (one,) = planned(tmp_path, {"c": CLAIM})
    assert one["claims"] == {"c": {"effect": "a - b", "on": "asr", "above": 0}} and one["looks"] == []
    assert set(one["rows"]) == {"a", "b"} and len(one["hash"]) == 16 and one["time"].endswith("Z")
    assert planned(tmp_path, {"c": CLAIM}, label="another label") == [one]
    after = planned(tmp_path, {"c": CLAIM | {"margin": 1}})
    after = planned(tmp_path, {"c": CLAIM | {"margin": 1}}, looks=[5, 8])
    after = planned(tmp_path, {"c": CLAIM | {"margin": 1}}, looks=[5, 8], width=9)
    assert after[0] == one and [line["looks"] for line in after] == [[], [], [5, 8], [5, 8]]
    assert len({line["hash"] for line in after}) == 4
    back = planned(tmp_path, {"c": CLAIM})
    assert back[-1]["hash"] == one["hash"] and len(back) == 5  # what holds now is the last line


def test_equal_declarations_have_one_hash_on_every_machine(tmp_path):
    one, other = (planned(tmp_path / name, {"c": CLAIM})[0] for name in ("one", "other"))
    assert one["hash"] == other["hash"]


def test_a_sweep_without_claims_gets_no_line(tmp_path):
    assert planned(tmp_path, {}) == [] and declared.hash_of({"rows": {"a": {}}}) == ""


def test_a_plan_tells_the_hash_before_anything_runs(tmp_path):
    (line,) = planned(tmp_path, {"c": CLAIM})
    about = {"rows": {"a": {"width": 8}, "b": {}}, "claims": {"c": CLAIM}}
    assert declared.hash_of(about) == line["hash"]
    assert drive.preregistered(Plan("first", about, [], {}, {})) == [
        f"note: claims, looks, rows and data have the hash {line['hash']}, which the report has, too."
    ]


def test_what_stood_in_an_old_root_was_declared_at_no_known_time(tmp_path):
    planned(tmp_path, {"c": CLAIM})
    folder = tmp_path / "sweeps" / "first"
    (folder / "claims.jsonl").unlink()  # as code before claims.jsonl left it
    assert planned(tmp_path, {"c": CLAIM}) == []  # nothing new, and the folder may be one where nothing can be written
    before, now = planned(tmp_path, {"c": CLAIM, "new": CLAIM})
    assert before["time"] is None and set(before["claims"]) == {"c"}
    assert now["time"] and set(now["claims"]) == {"c", "new"}


def test_half_a_line_of_a_crash_is_removed_and_threads_write_whole_lines(tmp_path):
    path = tmp_path / "looks.jsonl"
    path.write_text('{"time": "1"}\n{"ti')
    declared.append(path, {"time": "2"})
    assert [line["time"] for line in lines(tmp_path, "looks.jsonl")] == ["1", "2"]
    threads = [threading.Thread(target=declared.append, args=(path, {"time": f"{n}" * 500})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path, "looks.jsonl")) == 10


@pytest.mark.parametrize("there", [False, True])
def test_a_merge_keeps_what_both_declared(tmp_path, there):
    roots = tmp_path / "source", tmp_path / "to"
    for number, root in enumerate(roots[: 1 + there]):
        stage(root)
        folder = sweep(root)
        declared.append(folder / "claims.jsonl", {"time": None, "hash": "same"})
        declared.append(folder / "claims.jsonl", {"time": f"2026-0{5 - number}", "hash": f"{number}"})
        declared.append(folder / "looks.jsonl", {"time": f"2026-0{5 - number}", "seeds": [number]})
    assert main(["merge", *map(str, roots)]) == 0
    kept = lines(roots[1] / "sweeps" / "first")
    assert [line["hash"] for line in kept] == (["same", "1", "0"] if there else ["same", "0"])
    assert len(lines(roots[1] / "sweeps" / "first", "looks.jsonl")) == 1 + there


def test_settings_of_rows_and_seeds_of_looks_are_declared(tmp_path):
    about = {"rows": {"a": {}, "b": {}}, "claims": {"c": CLAIM}, "settings": {"a": {"": "1"}, "b": {"": "2"}}}
    hashes = {declared.hash_of(about)}
    for more in (
        {"settings": {"a": {"": "1"}, "b": {"": "3"}}},
        {"data": {"type": "other"}},
        {"looks": [3, 5], "look_seeds": [0, 1, 2, 3, 4]},
        {"looks": [3, 5], "look_seeds": [4, 3, 2, 1, 0]},
    ):
        hashes.add(declared.hash_of(about | more))
    assert len(hashes) == 5
    assert declared.lines_if_run(tmp_path, about)[0]["rows"] == about["settings"] and not [*tmp_path.iterdir()]
