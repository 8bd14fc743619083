"""docs/architecture.md and the pages beside it: the picture is what the table of rooms draws, rooms are named, files
and links exist, words are in order, and the sweep of CONTRIBUTING.md plans.
"""

import re

import pytest
from draw_rooms import SVG, drawn
from test_arrows import ARROWS, COMMANDS, ROOT

from ablate.planning.plan import plan_file

ARCHITECTURE, GLOSSARY, CONTRIBUTING = "docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md"
PATH = r"(?!ROOT/)\.?[\w-][\w.-]*(?:/[\w.-]+)*(?:/|\.(?:py|md|ya?ml|csv|svg|toml|txt))"  # not of records


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def named(line: str) -> list[str]:
    """The files and folders in backticks of a line; a bare name of a file lies in the first folder there."""
    found = re.findall(rf"`({PATH})`", line)
    folder = next((name for name in found if name.endswith("/")), "")
    return [name if "/" in name else folder + name for name in found]


def cells(page: str) -> list[list[str]]:
    """The rows of a page's tables, heads left out."""
    lines = re.findall(r"^ *\| (.*) \|$", read(page), re.M)
    return [line.split(" | ") for line in lines]


def test_the_picture_is_what_the_table_draws():
    assert SVG.read_text(encoding="utf-8") == drawn(), "if this is meant: python tests/draw_rooms.py"


@pytest.mark.parametrize("room", [*ARROWS, *COMMANDS])
def test_the_page_names_every_room(room):
    path = room.replace(".", "/")
    name = f"{path}/" if (ROOT / path).is_dir() else f"{path}.py"
    assert sum(f"`{name}`" in row[0].split(", ") for row in cells(ARCHITECTURE)) == 1


@pytest.mark.parametrize("page", [ARCHITECTURE, GLOSSARY, CONTRIBUTING])
def test_files_that_pages_name_exist(page):
    paths = [path for line in read(page).splitlines() for path in named(line)]
    assert paths and not [path for path in paths if not (ROOT / path).exists()]


def test_a_bare_name_lies_in_the_folder_of_its_line():
    line = "`ablate/store/` has `run.py`, beside `docs/data.md`, `result.json`, `--root` and `ROOT/KIND/`"
    assert named(line) == ["ablate/store/", "ablate/store/run.py", "docs/data.md"]


@pytest.mark.parametrize("page", [CONTRIBUTING, "CHANGELOG.md"])  # tests/test_readme.py looks at the others
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", read(page)) if "://" not in link]
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_words_of_the_glossary_are_in_order():
    words = [row[0].strip("`") for row in cells(GLOSSARY)[1:]]
    assert words == sorted(set(words))
    assert all(named(row[2]) for row in cells(GLOSSARY)[1:])


def test_the_sweep_of_a_proposal_plans(tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", read(CONTRIBUTING), re.S | re.M)
    (tmp_path / "proposal.yaml").write_text(block)
    plan = plan_file(tmp_path / "proposal.yaml", [], tmp_path / "runs")
    assert plan.rows == ["joint", "longer", "tlm", "apart"]
    assert all(claim["margin"] for claim in plan.sweep["claims"].values())
