"""What pyproject.toml asks for, what constraints.txt pins, and what docs/install.md says of both."""

import json
import re
import sys
from importlib import metadata, util
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = [Requirement(one) for one in PROJECT["dependencies"]]
EXTRAS = [Requirement(one) for extra in PROJECT["optional-dependencies"].values() for one in extra]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
PAGE = (ROOT / "docs" / "install.md").read_text()
BUILD_TOOLS = {"pip", "setuptools", "wheel"}  # the environment's own, which no project pins


def pinned(python: str = f"{sys.version_info.major}.{sys.version_info.minor}") -> dict[str, list[Version]]:
    """The versions of each package that constraints.txt lets a Python install."""
    found: dict[str, list[Version]] = {}
    for line in map(Requirement, LINES):
        if line.marker is None or line.marker.evaluate({"python_version": python}):
            (exact,) = line.specifier
            assert exact.operator == "==", line
            found.setdefault(canonicalize_name(line.name), []).append(Version(exact.version))
    return found


def asked(name: str) -> Requirement:
    return next(one for one in ASKED if one.name == name)


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.14"])
def test_every_package_is_pinned_once_and_as_asked(python):
    pins = pinned(python)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
    for one in [*ASKED, *EXTRAS]:
        if one.marker is None or one.marker.evaluate({"python_version": python}):
            assert one.specifier.contains(pins[canonicalize_name(one.name)][0]), one


def test_pins_are_in_order():
    names = [canonicalize_name(Requirement(line).name) for line in LINES]
    assert names == sorted(names)


def test_torch_is_supported_from_the_pin_to_the_newest_that_was_tried():
    accepts = asked("torch").specifier.contains
    assert str(pinned()["torch"][0]) == "2.10.0"
    assert all(accepts(version) for version in ("2.10.0", "2.10.0+cpu", "2.13.0"))
    assert not any(accepts(version) for version in ("2.9.1", "2.14.0"))


@pytest.mark.parametrize(
    ("system", "processor", "wanted"),
    [
        ("linux", "x86_64", True),
        ("win32", "AMD64", True),
        ("linux", "aarch64", False),
        ("darwin", "arm64", False),
        ("darwin", "x86_64", False),
        ("win32", "ARM64", False),
    ],
)
def test_xformers_is_asked_for_where_it_has_wheels(system, processor, wanted):
    xformers = asked("xformers")
    assert xformers.marker.evaluate({"sys_platform": system, "platform_machine": processor}) is wanted
    assert [str(one) for one in xformers.specifier] == [f"=={pinned()['xformers'][0]}"]


@pytest.mark.skipif(util.find_spec("xformers") is None, reason="no xformers here")
def test_xformers_is_compiled_for_the_torch_that_is_pinned():
    assert Version(metadata.version("xformers")) == pinned()["xformers"][0]
    built = json.loads((Path(util.find_spec("xformers").origin).parent / "cpp_lib.json").read_text())["version"]
    assert Version(Version(built["torch"]).base_version) == pinned()["torch"][0]
    assert f"CUDA {built['cuda'] // 100}.{built['cuda'] % 100}" in PAGE


def test_what_packages_bring_is_pinned():
    pins = pinned()
    if Version(Version(metadata.version("torch")).base_version) != pins["torch"][0]:
        pytest.skip(f"torch {metadata.version('torch')} brings other packages than the pinned one")
    todo, seen, loose = [*ASKED, *EXTRAS], set(), set()
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        if name in BUILD_TOOLS or (name, *one.extras) in seen:
            continue
        seen.add((name, *one.extras))
        try:
            brings = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # not for this machine, or of an extra that is not installed
            continue
        if name not in pins:
            loose.add(f"{name}=={metadata.version(name)}")
        for needed in map(Requirement, brings):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ["", *one.extras]):
                todo.append(needed)
    assert loose == set()


def test_the_page_names_what_is_pinned_and_supported():
    lower, upper = sorted(Version(one.version) for one in asked("torch").specifier)
    assert f"torch {pinned()['torch'][0]}" in PAGE and f"xformers {pinned()['xformers'][0]}" in PAGE
    assert f"torch {lower} to {upper.major}.{upper.minor - 1}" in PAGE
    lost = re.findall(r"^\| (?:\*\*)?([\d.]+)(?:\*\*)?(?: to ([\d.]+))? \|", PAGE, re.M)
    assert lost == [("2.10.0", ""), ("2.11", "2.13")]
