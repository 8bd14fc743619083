"""docs/paper.md: settings as in sweeps/paper.yaml, results as published; cited files and sections exist."""

import csv
import json
import re
from pathlib import Path

import pytest

from ablate.planning.plan import plan_file
from ablate.store import identity

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
PUBLISHED = ROOT / "analysis" / "tables" / "published"
EMPTY = "there is no setting in the table"
HEAD = "| setting | paper | sure or guessed | ours | why |"
RESULTS = "| paper's row | ours | CoVoST 2, BLEU ↑ | test-other, WER ↓ |"
SETTING = re.compile(r"`([\w.]+)`(?:, all rows| of ((?:`\w+`(?:, )?)+))")
PLACES = r"(?:(?:ablate|analysis|docs|encoders|objectives|sweeps|tests)/[\w./-]*\w|\b[\w-]+\.(?:csv|md|py|yaml))"
CITED = re.compile(r"docs/paper\.md`?,[\s#]+sections?[\s#]+([\d.]*\d)(?:[\s#]+and[\s#]+([\d.]*\d))?")


def lines_below(head: str, page: str) -> list[list[str]]:
    """The cells of the page's table with these heads, line by line; none where there is no such table."""
    _, found, rest = page.partition(f"{head}\n")
    body = rest.split("\n\n")[0].splitlines()[1:] if found else []
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in body if line.strip()]


def faults(page: str, resolved: dict) -> list[str]:
    """What is wrong with the page's table of settings, given the resolved rows of the sweep file."""
    rows = {name: identity.flat(values) for name, values in resolved.items()}
    lines = lines_below(HEAD, page)
    return [fault for line in lines for fault in faults_of(line, rows)] if lines else [EMPTY]


def faults_of(line: list[str], rows: dict[str, dict]) -> list[str]:
    """What is wrong with one line of the table."""
    setting = SETTING.fullmatch(line[0])
    if len(line) != 5 or not all(line) or not setting:
        return [f"cannot be read: {' | '.join(line)}"]
    path, named = setting[1], re.findall(r"\w+", setting[2] or "")
    unknown = [f"{path}: there is no row '{name}'" for name in named if name not in rows]
    of = [name for name in named or rows if name in rows and (named or path in rows[name])]
    lost = [f"{path}: {name} has no such setting" for name in of if path not in rows[name]]
    shown = {name: f"`{json.dumps(rows[name][path], ensure_ascii=False)}`" for name in of if path in rows[name]}
    wrong = [f"{path}: {name} has {value}, not {line[3]}" for name, value in shown.items() if value != line[3]]
    return unknown + lost + wrong + ([] if of or unknown else [f"{path}: no row has such a setting"])


@pytest.fixture(scope="module")
def resolved():
    return plan_file(ROOT / "sweeps" / "paper.yaml").resolved


def test_the_table_of_settings_is_what_the_sweep_file_says(resolved):
    assert faults(PAGE, resolved) == []
    assert len(lines_below(HEAD, PAGE)) == len(re.findall(r"^\| `\w+\.", PAGE, re.M))  # none stands outside the table


def test_the_rows_that_the_paper_has_are_there(resolved):
    stages = plan_file(ROOT / "sweeps" / "stages.yaml").resolved
    assert {line[1].strip("`") for line in lines_below(RESULTS, PAGE)} <= {*resolved, *stages}


@pytest.mark.parametrize(
    "line, fault",
    [
        ("| `encoder.width`, all rows | 1024 | stated | `512` | x |", "encoder.width: joint has `1024`, not `512`"),
        ("| `encoder.widht`, all rows | 1024 | stated | `1024` | x |", "encoder.widht: no row has such a setting"),
        ("| `encoder.width` of `jiont` | 1024 | stated | `1024` | x |", "encoder.width: there is no row 'jiont'"),
        ("| `encoder.widht` of `joint` | 1024 | stated | `1024` | x |", "encoder.widht: joint has no such setting"),
        (
            "| encoder.width | 1024 | stated | `1024` | x |",
            "cannot be read: encoder.width | 1024 | stated | `1024` | x",
        ),
        ("| `encoder.width`, all rows | `1024` | x |", "cannot be read: `encoder.width`, all rows | `1024` | x"),
        ("", EMPTY),
    ],
)
def test_a_line_that_is_wrong_is_told(resolved, line, fault):
    assert fault in faults(f"{HEAD}\n|---|---|---|---|---|\n{line}\n\nMore.", resolved)


def test_a_page_without_the_table_is_told(resolved):
    assert faults(PAGE.replace(HEAD, ""), resolved) == [EMPTY]


def test_the_results_are_the_published_ones():
    def published(name: str, column: str) -> dict[str, str]:
        with open(PUBLISHED / f"{name}.csv", encoding="utf-8") as file:
            return {line["stages"]: line[column] for line in csv.DictReader(file) if line["stages"]}

    bleu, wer = published("covost2", "average"), published("librispeech", "test-other")
    assert sorted(line[2:] for line in lines_below(RESULTS, PAGE)) == sorted([bleu.get(s, "—"), wer[s]] for s in wer)


def test_the_page_cites_no_file_that_does_not_exist():
    cited = set(re.findall(PLACES, PAGE))
    assert "sweeps/paper.yaml" in cited and [place for place in cited if not (ROOT / place).exists()] == []


def test_every_section_that_is_cited_is_there():
    sections = set(re.findall(r"^#+ ([\d.]*\d)\.? ", PAGE, re.M))
    folders = ("ablate", "analysis", "encoders", "objectives", "sweeps", "tests")
    files = [path for folder in folders for end in ("py", "yaml") for path in (ROOT / folder).rglob(f"*.{end}")]
    cited = [(path.name, at) for path in files for found in CITED.findall(path.read_text("utf-8")) for at in found]
    assert sections >= {"1", "4", "9.2", "10.3"}
    assert [(name, at) for name, at in cited if at and at not in sections] == []
