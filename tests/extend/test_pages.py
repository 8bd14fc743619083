"""The pages of docs/extend/ show the toys, which are short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PAGES = sorted((HERE.parents[1] / "docs" / "extend").glob("*.md"))
ELSEWHERE = {"plugins": "out_of_tree/my_lab/ablations.py"}
MOST = 30  # lines of a toy that say something


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_its_toy(page: Path) -> None:
    toy = (HERE / ELSEWHERE.get(page.stem, f"{page.stem}.py")).read_text()
    assert toy in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    assert len([line for line in toy.splitlines() if line]) <= MOST
