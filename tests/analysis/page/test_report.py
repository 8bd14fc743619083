"""The report: one self-contained page, made from whatever is finished."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from analysis import report
from analysis.records.frame import read

FEW = {
    "rows": ("scratch", "speech_only", "joint", "joint_placebo", "joint_tlm"),
    "tasks": ("asr", "sentence_pair"),
    "table": {"blocks": [{"reference": "joint"}]},
    "claims": {
        "text_harms_speech": {
            "effect": "joint - joint_placebo",
            "on": "asr.wer",
            "below": 0,
            "coefficients": {"joint": 1.0, "joint_placebo": -1.0},
        }
    },
}
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects text and sources, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words, self.alts = [], [], [], []
        self.heads, self.ids, self.attributes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.attributes.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.heads += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.sources += [values[key] for key in ("src", "href") if key in values]
        self.alts += [values.get("alt")] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_process_that_draws_ends_with_the_one_that_writes(fake, tmp_path):
    script = tmp_path / "writes.py"
    script.write_text(
        "import sys, time\n"
        "from analysis import report, table\nfrom analysis.figures import drawings\n"
        "drawings.draw = lambda *_: (print('drawn', flush=True), ([], {}))[1]\n"
        "table.build = lambda _: time.sleep(600)\n"
        "report.write(sys.argv[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(report.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, script, fake(**FEW)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "drawn\n"
    process.kill()
    process.communicate(timeout=30)  # returns when nobody holds the pipe any more


def test_report_is_complete_and_self_contained(fake):
    folder = fake(**FEW, seeds=(0, 1, 2))
    paths = report.write(folder)
    names = {path.name for path in paths["table"]} | {path.name for path in paths["figures"]} | {paths["report"].name}
    assert names >= {"table.md", "table.tex", "table.csv", "interference.png", "interference.pdf", "report.html"}
    assert all(path.stat().st_size for path in [*paths["table"], *paths["figures"], paths["report"]])
    page = Page(paths["report"].read_text())
    text = " ".join(page.words)
    for expected in (
        "Which pre-training losses",
        "What would change our mind",
        "joint tlm",
        "built-in world",
        "items; fake",
    ):
        assert expected in text
    assert page.sources and all(source.startswith(("data:", "#")) for source in page.sources)
    assert page.alts.count("") == 1 and page.alts[-1] == ""  # the enlarged figure has its text when it is shown
    assert not list(folder.rglob("*.part"))


def test_headings_links_and_regions_serve_keyboard_and_screen_reader(fake):
    page = Page(report.write(fake(**FEW, seeds=(0, 1, 2)))["report"].read_text())
    assert page.heads[0] == 1 and page.heads.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(page.heads, page.heads[1:]))  # no level is left out
    assert len(page.ids) == len(set(page.ids))
    for tag, values in page.attributes:
        for name in ("href", "aria-labelledby"):
            target = values.get(name, "")
            if name == "aria-labelledby" and target or target.startswith("#"):
                assert target.removeprefix("#") in page.ids
        if tag == "button":
            assert values.get("aria-label") or values["data-do"] in ("fit", "close")  # those have words
        if values.get("class") == "wide":  # scrolls sideways: the keyboard must reach it
            assert values["tabindex"] == "0" and values["role"] == "region" and values["aria-label"]
        if tag == "th":
            assert values["scope"]
        assert not values.get("src", "").startswith("http")
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.attributes}


def test_nothing_is_fetched_from_anywhere(fake):
    text = report.write(fake(**FEW))["report"].read_text()
    assert not re.search(r"https?://|url\(|@import", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))


def test_each_figure_carries_its_data(fake):
    paths = report.write(fake(**FEW, seeds=(0, 1)))
    page = Page(paths["report"].read_text())
    carried = {
        f["download"]: base64.b64decode(f["href"].partition(",")[2]) for _, f in page.attributes if "download" in f
    }
    beside = {path.name: path.read_bytes() for path in paths["figures"] if path.suffix == ".csv"}
    assert set(beside) == {"interference.csv", "harm_over_training.csv", "pretraining.csv", "finetuning.csv"}
    for name, data in beside.items():
        assert (carried[name] if name in carried else gzip.decompress(carried[f"{name}.gz"])) == data


def test_failed_stages_are_shown_with_the_end_of_their_log(fake):
    folder = fake(**FEW, missing=(("joint", 0, "asr"),))
    line = next(x for x in map(json.loads, (folder / "manifest.jsonl").read_text().splitlines()) if x["row"] == "joint")
    id = line["stages"]["score"]["asr"]["test_unseen"]
    run = folder.parents[1] / "score" / id[:2] / id
    run.mkdir(parents=True)
    (run / "attempts.jsonl").write_text(json.dumps({"host": "node7", "outcome": "failed"}) + "\n")
    (run / "logs").mkdir()
    (run / "logs" / "out.txt").write_text("first line\n" * 50 + "ValueError: <odd>\n")
    text = report.write(folder)["report"].read_text()
    assert (
        "score joint / asr.test_unseen (seed 0)" in text
        and "failed on node7" in text
        and "ValueError: &lt;odd&gt;" in text
    )
    assert text.count("first line") == 11


def test_a_folder_copied_while_the_cluster_runs_shows_what_is_there(fake, tmp_path):
    folder = fake(**FEW, seeds=(0, 1), missing=(("joint", 1, "asr"),))
    root = folder.parents[1]
    tuning = next(root.glob("finetune/*/*/*/metrics.jsonl"))
    tuning.write_text(tuning.read_text()[:-30])  # copied in the middle of a line
    shutil.rmtree(next(root.glob("pretrain/*/*")))  # not copied yet
    copied = shutil.copytree(root, tmp_path / "laptop")
    shutil.rmtree(root)
    made = report.write(copied / "sweeps" / folder.name)
    assert "(1/2)" in (copied / "sweeps" / folder.name / "table.md").read_text()
    assert "○" in made["report"].read_text() and "Incomplete: 2 of" in made["report"].read_text()


def finished(stage):
    """Folder of the files of a stage that is made out to be finished."""
    (stage / "token").mkdir(parents=True)
    (stage / "result.json").write_text(json.dumps({"format": 2, "attempt": "token"}))
    return stage / "token"


def voices(folder):
    """Two recordings, of 7 frames and of 40."""
    np.array([0, 7, 47], "<i8").tofile(folder / "frames.i64")
    (folder / "mel.f16").write_bytes(bytes(2 * 80 * 47))


def a_table(stage, row, spoken, recordings):
    """A table whose first row in canonical order is the second in its file, and the second recording."""
    place = finished(stage)
    lines = [json.dumps(one) + "\n" for one in ({"id": "test-9", "text": "not this one"}, row)]
    (place / "rows.jsonl").write_text("".join(lines))
    first, whole = len(lines[0]), len("".join(lines))
    np.array([[first, whole], [0, first]], "<i8").tofile(place / "rows.i64")
    (place / "recordings.json").write_text(json.dumps([recordings] if recordings and spoken else []))
    if spoken:
        np.array([[0, 1], [0, 0]], "<i8").tofile(place / "recording.i64")
        if not recordings:
            (place / "own").mkdir()
            voices(place / "own")


@pytest.mark.parametrize("kind", ["format 1", "format 2", "format 2, frames beside the rows"])
def test_samples_show_what_the_model_was_given(fake, kind):
    folder = fake(**FEW | {"tasks": ("sentence_pair", "asr"), "format": 1 if kind == "format 1" else 2})
    records = read(folder)
    written = {"id": "test-0", "text": "a boat sank", "text_b": "nothing sank", "label": "no"}
    spoken = {"id": "test-0", "text": "six red boats", "frames": 40, "phones": [[0, "s"], [20, "I"]]}
    for table, row in {"sentence_pair": written, "asr": spoken}.items():
        if kind == "format 1":
            place = records.path("corpus", records.manifest[0]["stages"]["corpus"]) / "tables" / table / "test"
            place.mkdir(parents=True)
            (place / "rows.jsonl").write_text(json.dumps(row) + "\n")
            if table == "asr":
                (place / "mel.f16").write_bytes(bytes(2 * 80 * 40))
        else:
            recordings = "" if "beside" in kind else "f00d"
            a_table(
                records.path("table", records.manifest[-1]["stages"]["tables"][f"{table}.test"]),
                row,
                table == "asr",
                recordings,
            )
    if "beside" not in kind and kind != "format 1":
        voices(finished(records.path("recordings", "f00d")))
    text = report.write(folder)["report"].read_text()
    assert "a boat sank<br>nothing sank" in text
    assert 'alt="Log-mel spectrogram, 0.4 s: six red boats"' in text
    assert "six red <mark>boat</mark>" in text


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_real_browser_lays_it_out_and_opens_a_figure(fake, tmp_path, width):
    page = report.write(fake(**FEW, seeds=(0, 1)))["report"]
    look = """<script>addEventListener("load", () => {
      document.querySelector("button.figure").click(); setTimeout(function look() {
      if (!document.querySelector("dialog output").textContent) return setTimeout(look, 100);  // not drawn yet
      const said = document.createElement("output"); said.id = "seen"; said.textContent = JSON.stringify({
        open: document.getElementById("zoom").open, scale: document.querySelector("dialog output").textContent,
        beyond: document.documentElement.scrollWidth - innerWidth,
        natural: document.querySelector(".stage img").naturalWidth,
        focus: document.activeElement.className, folded: ["", "beforeprint", "afterprint"].map((name) => {
          if (name) dispatchEvent(new Event(name));
          return document.querySelectorAll("details:not([open])").length; })});
      document.body.append(said); }, 500); });</script></body>"""
    changed = tmp_path / "page.html"
    changed.write_text(page.read_text().replace("</body>", look))
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},900",
        "--virtual-time-budget=600000",
        "--dump-dom",
        changed.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    seen = json.loads(re.search(r'<output id="seen">(.*?)</output>', shown)[1])
    assert seen["open"] and seen["natural"] > 300 and seen["scale"].endswith("%") and seen["focus"] == "stage"
    before, printing, after = seen["folded"]
    assert before == after > 0 == printing  # what is folded is printed, too
    assert seen["beyond"] <= 0  # nothing but its own regions scrolls sideways


def test_one_seed_is_a_caveat_and_no_verdict(fake):
    paths = report.write(fake(**FEW))
    text = " ".join(Page(paths["report"].read_text()).words)
    assert "One seed: no row can be told from another" in text and "one seed: a claim about rows needs" in text


def test_nothing_finished_and_no_claims_still_make_a_page(fake):
    paths = report.write(fake(**FEW | {"claims": {}}, missing=((None, None, None),)))
    Page(paths["report"].read_text())


def test_names_are_escaped(fake):
    folder = fake(rows=("joint", "speech_only"), table={}, claims={})
    sweep = folder / "sweep.json"
    sweep.write_text(sweep.read_text().replace("Which pre-training", "<script>alert(1)</script> & Which"))
    text = report.write(folder)["report"].read_text()
    assert "<script>alert" not in text and "&lt;script&gt;" in text


def test_capacity_figure_only_with_several_sizes(fake):
    points = ({"encoder": "nano"}, {"encoder": "small"})
    rows = ("text_only", "speech_only", "joint")
    paths = report.write(fake(rows=rows, tasks=("asr",), points=points, table={}, claims={}))
    assert "capacity.png" in {path.name for path in paths["figures"]}


def test_summary_for_the_terminal_ends_with_the_claims(fake):
    text = report.summary(fake(**FEW), width=150)
    assert "UNDECIDED" in text.splitlines()[-1] and "text_harms_speech" in text


@pytest.mark.slow
def test_a_full_sweep_is_reported_in_seconds(fake):
    folder = fake()
    began = time.process_time()
    report.write(folder)
    assert time.process_time() - began < 8
