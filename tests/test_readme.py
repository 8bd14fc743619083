"""What README.md and the pages of docs/ promise: their example objective runs, their sweeps plan, and their commands,
options, paths and links exist.
"""

import functools
import json
import re
import shlex
import subprocess
import sys
import types
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from tiny import World

from ablate import describe, new, sweep
from ablate.data.builtin.corpus import BuiltinConfig
from ablate.planning import reference
from ablate.planning.plan import named_kinds, plan_file
from ablate.sweepfile import load
from ablate.sweepfile.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
README, OBJECTIVES, SLURM = "README.md", "docs/objectives.md", "docs/slurm.md"
ARCHITECTURE = "docs/architecture.md"
PARTS = ("docs/sweeps.md", "docs/tasks.md", "docs/data.md")  # pages whose YAML is of sweep files
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in (README, *DOCS)}

MOST_WORDS, MOST_COLUMNS = 900, 6  # of README: five minutes to read, and a table that fits a narrow window
OURS = "ablate|analysis|encoders|objectives|sweeps|tests|docs"
ELSEWHERE = {"--kills"}  # options of tests/kills.py, which is run by its path


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language: page and text."""
    return [
        (page, block)
        for page, text in PAGES.items()
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)
    ]


def code(page: str) -> str:
    """All code of a page, spans and blocks, a piece a line."""
    text = PAGES[page]
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.S | re.M)
    indented = re.findall(r"^    (?! *[-*] )(.*)$", rest, re.M)
    return "\n".join([*fenced, *indented, *re.findall(r"`([^`]+)`", rest)])


def commands() -> list[tuple[str, str, str]]:
    """Every `python -m` of this project that a page shows: page, module, and the words after it, comments and pipes cut
    off.
    """
    shown = re.compile(r"python -m ((?:ablate|analysis)[\w.]*)([^\n#|&]*)")
    found = {(page, module.rstrip("."), rest.strip()) for page in PAGES for module, rest in shown.findall(code(page))}
    return sorted(found)


ASK = """
import contextlib, io, json, runpy, sys
said = {}
for module in sys.argv[1:]:
    sys.argv, out = [module, "--help"], io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        out.write(f"{type(error).__name__}: {error}")
    said[module] = out.getvalue()
print(json.dumps(said))
"""


@functools.cache
def helps() -> dict[str, str]:
    """What every command says of itself; one process asks them all, as importing torch takes longest."""
    modules = sorted({module for _, module, _ in commands()})
    asked = subprocess.run([sys.executable, "-c", ASK, *modules], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, as GitHub writes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_example_objective_trains(tmp_path, monkeypatch):
    (example,) = [block for page, block in blocks("python") if page == OBJECTIVES]
    module = types.ModuleType("objectives.reconstruction")
    monkeypatch.setitem(sys.modules, "objectives.reconstruction", module)
    exec(example, module.__dict__)
    import objectives

    monkeypatch.setitem(objectives.OBJECTIVES, "reconstruction", module.Reconstruction.Config())
    world = World(tmp_path)
    run = world.run(world.pretrain("reconstruction", steps=40))
    losses = [
        json.loads(line)["reconstruction/loss"] for line in (run.files / "metrics.jsonl").read_text().splitlines()
    ]
    assert losses[-1] < 0.9 * losses[0]


def test_python_is_python():
    for page, block in blocks("python"):
        compile(block, page, "exec")


def example(tmp_path: Path) -> Path:
    """README's sweep as a file: what its pages call FILE."""
    (block,) = [block for page, block in blocks("yaml") if page == README]
    file = tmp_path / "spans.yaml"
    file.write_text(block)
    return file


def test_the_example_sweep_plans(tmp_path):
    plan = plan_file(example(tmp_path), [], tmp_path / "runs")
    assert plan.rows == ["span_5", "span_1", "longer"]
    assert plan.manifest[2]["stages"]["trunks"][0] == plan.manifest[0]["stages"]["trunk"]


@pytest.mark.parametrize("page, block", [found for found in blocks("yaml") if found[0] != README])
def test_other_yaml_is_what_it_says(page, block, tmp_path):
    """Parts of a sweep file plan, laid over sweeps/objectives.yaml; a cluster's profile can be planned with."""
    file = tmp_path / "part.yaml"
    assert isinstance(yaml.safe_load(block), dict)
    if page in PARTS:
        file.write_text(f"extends: {ROOT / 'sweeps/objectives.yaml'}\n{block}")
        assert plan_file(file, [], tmp_path / "runs").stages
    elif page == SLURM:
        file.write_text(block)
        plan = plan_file(example(tmp_path), [f"resources.profile={file}"], tmp_path / "runs", asking=[""])
        assert plan.stages


@pytest.mark.parametrize("page, module, rest", commands())
def test_commands_can_be_given(page, module, rest, tmp_path):
    """Every command line names a command, and options of it; a sweep's are parsed, and its overrides applied."""
    assert "usage:" in helps()[module], f"{page}: python -m {module} cannot be run: {helps()[module]}"
    assert options_in(rest) <= options_in(helps()[module]), f"{page}: python -m {module} {rest}"
    if module == "ablate.sweep" and rest and "--help" not in rest:
        options = sweep._parser().parse_intermixed_args(shlex.split(rest))
        if options.reference is not None:
            assert reference.text(Registry.default(named_kinds()), options.reference.strip("[]").replace("SECTION", ""))
            return
        if options.new:
            assert new.given(options.overrides), f"{page}: python -m {module} {rest}"
            return
        placeholder = options.file == "FILE"
        file = example(tmp_path) if placeholder else ROOT / options.file
        changed = load.override(load.load(file), options.overrides)
        for row in {options.show, options.where, *(options.only or ())} - {None, "ROW"}:
            assert row in changed["rows"], f"{page}: python -m {module} {rest}"
        if placeholder and "resources.profile" not in rest:
            assert plan_file(file, options.overrides, tmp_path / "runs", quick=options.quick).stages


CHEAP = sorted({(module, rest) for _, module, rest in commands() if module == "ablate.describe"})


@pytest.mark.parametrize(("module", "rest"), CHEAP)
def test_commands_that_cost_little_are_run(module, rest, capsys):
    words = [word for word in shlex.split(rest) if not word.isupper()]
    assert describe.main(words or ["nano"]) in (0, None)
    assert ("attention on" if "--backends" in words else "parameters") in capsys.readouterr().out


def test_words_of_other_commands_are_known():
    """Rows and columns that pages ask about, settings of the built-in corpus, what `ablate.store` can do."""
    plan = plan_file(ROOT / "sweeps" / "objectives.yaml")
    for page, module, rest in commands():
        words = shlex.split(rest)
        if "--why" in words:
            row, column = words[words.index("--why") + 1 :][:2]
            assert row.isupper() or (row in plan.rows and column.split(".")[0] in plan.sweep["tasks"]), (page, rest)
        if module == "ablate.data.builtin":
            settings = {word.partition("=")[0] for word in words if "=" in word and not word.startswith("[")}
            assert settings <= {field.name for field in fields(BuiltinConfig)}, (page, rest)
        if module == "ablate.store" and words:
            assert words[0] in ("ls", "explain", "merge", "adopt", "upgrade") or words[0].startswith("-"), (page, rest)


@pytest.mark.parametrize("page", PAGES)
def test_options_that_pages_name_are_options(page):
    known = ELSEWHERE.union(*map(options_in, helps().values()))
    named = options_in("\n".join(line for line in code(page).splitlines() if "pip install" not in line))
    assert named <= known


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_and_extras_exist(page):
    makefile, project = (ROOT / "Makefile").read_text(), (ROOT / "pyproject.toml").read_text()
    for target in re.findall(r"\bmake (?:[A-Z]+=\S+ )?([a-z]+)\b", code(page)):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for arguments in re.findall(r'make sweep ARGS="([^"]*)"', code(page)):
        options = sweep._parser().parse_intermixed_args(["sweeps/objectives.yaml", *shlex.split(arguments)])
        load.override(load.load(ROOT / options.file), options.overrides)
    for extras in re.findall(r"'\.\[([\w,]+)\]'", code(page)):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.M), extra


def test_continuous_integration_runs_the_tests():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    named = set(re.findall(rf"(?<![\w/.-])(?:{OURS})/[\w./-]*[\w/]", PAGES[page]))
    assert not {path for path in named if not (ROOT / path).exists()} - {"objectives/reconstruction.py"}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page):
    links = re.findall(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"", PAGES[page])
    for link in filter(lambda link: "://" not in link, ("".join(pair) for pair in links)):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short():
    assert len(PAGES[README].split()) <= MOST_WORDS
    rows = [line.strip() for line in PAGES[README].splitlines() if line.lstrip().startswith("|")]
    assert rows and max(row.strip("|").count("|") + 1 for row in rows) <= MOST_COLUMNS


@pytest.mark.parametrize("page", DOCS)
def test_every_page_is_linked_and_says_whom_it_is_for(page):
    """README links it, or, of those on extensions, the page on architecture; below the title it opens with one
    sentence, "For whoever …".
    """
    extends = page.startswith("docs/extend/")
    assert f"]({page.removeprefix('docs/')})" in PAGES[ARCHITECTURE] if extends else f"]({page})" in PAGES[README]
    title, opening = (part.strip().replace("\n", " ") for part in PAGES[page].split("\n\n")[:2])
    assert title.startswith("# ")
    assert opening.startswith("For ") and opening.endswith(".") and not re.search(r"\. [A-Z]", opening), opening
