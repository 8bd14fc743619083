"""What pre-training drew from each corpus: means over seeds, nothing where nothing is mixed or finished."""

from __future__ import annotations

from types import SimpleNamespace

from analysis.tables import corpora


def table(*exposures: dict | None) -> SimpleNamespace:
    """A row whose seeds have these results."""
    manifest = [
        {"row": "joint", "point": {}, "seed": seed, "stages": {"leaf": str(seed)}} for seed in range(len(exposures))
    ]
    results = {str(seed): None if one is None else {"exposure": one} for seed, one in enumerate(exposures)}
    records = SimpleNamespace(
        manifest=manifest, result=lambda kind, id: results[id], label=lambda row, point: f"{row}{point}"
    )
    return SimpleNamespace(records=records)


def speech(first: float, second: float) -> dict:
    a = {"items": 10, "epochs": 2 * first, "hours": first, "share": 0.75}
    b = {"items": 20, "epochs": second, "hours": second, "share": 0.25}
    return {"speech": {"items": 30, "epochs": 1.0, "hours": first + second, "corpora": {"a": a, "b": b}}}


def test_shares_drawn_and_epochs_are_means_over_finished_seeds() -> None:
    made = corpora.sheet(table(speech(3.0, 1.0), speech(1.0, 1.0), None))
    assert made.lines == [
        ["joint", "speech", "a", "75.0 %", "62.5 %", "2 hours", "4.00"],
        ["joint", "speech", "b", "25.0 %", "37.5 %", "1 hours", "1.00"],
    ]
    assert [line[2:10] for line in made.values[:2]] == [
        [0, "speech", "a", 0.75, 0.75, "hours", 3.0, 10],
        [0, "speech", "b", 0.25, 0.25, "hours", 1.0, 20],
    ]


def test_there_is_no_table_where_nothing_is_mixed() -> None:
    assert corpora.sheet(table(None, {}, {"text": {"items": 3, "epochs": 0.1, "tokens": 50.0}})) is None
