"""What a job asks for: `resources` of the sweep, merged over a cluster's profile, parsed and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import UserError, as_written, nearest

COLLECT = "collect"  # the job that `--detach` leaves behind, treated as a kind of its own
UNITS = {"": 1.0, "M": 1 / 1024, "G": 1.0, "T": 1024.0}  # of memory, in GB
CLOCKS = (r"(?:(?P<d>\d+)-)?(?P<h>\d+):(?P<m>[0-5]\d):(?P<s>[0-5]\d)", r"(?P<d>\d+)-(?P<h>\d+)(?::(?P<m>[0-5]\d))?")
SPOKEN = {"m": "{}", "h": "{}:00:00", "d": "{}-0:00:00"}  # how Slurm writes 2h, for example


@dataclass(frozen=True)
class Resource:
    """How one resource is parsed, and its name in submitit."""

    read: Callable[[Any], Any]
    """Parses the value in a file or on the command line. Raises _Wrong with the nearest valid form."""
    expected: str
    submitit: str = ""
    sbatch: str = ""
    """Option of sbatch, if submitit has no name for it."""
    default: Any = None
    whole: bool = False
    """Whether it holds for the whole sweep and cannot be set per kind of stage."""


class _Wrong(Exception):
    """The value is invalid; the argument is the nearest valid form, if there is one."""

    option = ""
    """The option of sbatch that it is about, if it is about one of several."""


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise _Wrong
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _Wrong from None
    if not math.isfinite(number):
        raise _Wrong
    return int(number) if number % 1 == 0 else number


def _amount(value: Any) -> float:
    if (number := _number(value)) < 0:
        raise _Wrong(-number)
    return number


def _more(value: Any) -> float:
    if not (number := _amount(value)):
        raise _Wrong
    return number


def _whole(least: float) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(value)
        if number % 1 or number < least:
            raise _Wrong(max(1, math.ceil(abs(number))))
        return int(number)

    return read


def _gigabytes(value: Any) -> float:
    """Parse gigabytes: "40", "40G", "40GB" or "512M"."""
    match = re.fullmatch(r"([\d.]+)\s*([a-z]*)", str(value).strip(), re.IGNORECASE)
    if match is None:
        raise _Wrong
    unit = match[2].upper().removesuffix("B").removesuffix("I")
    if unit not in UNITS:
        raise _Wrong(*[f"{match[1]}{unit[0]}" for _ in unit[:1] if unit[0] in UNITS])
    amount = _number(match[1]) * UNITS[unit]
    if round(1024 * amount) < 1:
        raise _Wrong
    return int(amount) if amount % 1 == 0 else amount


def _minutes(value: Any) -> int:
    """Parse whole minutes, given as a number or in Slurm's format: hours:minutes:seconds, days-hours:minutes."""
    text = str(value).strip()
    for form in CLOCKS:
        if match := re.fullmatch(form, text):
            d, h, m, s = (int(match.groupdict().get(part) or 0) for part in "dhms")
            return _whole(1)((d * 24 + h) * 60 + m + (s > 0))
    if re.fullmatch(r"\d+:[0-5]\d", text):
        raise _Wrong(f"{text}:00")
    if match := re.fullmatch(r"(\d+)\s*([mhd])[a-z]*", text, re.IGNORECASE):
        raise _Wrong(SPOKEN[match[2].lower()].format(match[1]))
    return _whole(1)(value)


def _gpus(value: Any) -> int | str:
    """Parse a number of GPUs, or "TYPE:COUNT"."""
    text = str(value).strip()
    if match := re.fullmatch(r"(?:gpu:)?([\w.+-]*[a-z][\w.+-]*)(?::(\d+))?", text, re.IGNORECASE):
        right = f"{match[1]}:{int(match[2] or 1) or 1}"
        if text != right:
            raise _Wrong(right)
        return right
    if match := re.fullmatch(r"(\d+):(\w*[a-z]\w*)", text, re.IGNORECASE):
        raise _Wrong(f"{match[2]}:{match[1]}")
    return _whole(0)(value)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        raise _Wrong(",".join(map(str, value)))
    if isinstance(value, (bool, Mapping)) or not str(value).strip() or "\n" in str(value).strip():
        raise _Wrong
    return str(value).strip()


def _lines(value: Any) -> list[str]:
    lines = [value] if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) for line in lines):
        raise _Wrong
    return [*lines]


def _options(value: Any) -> dict[str, Any]:
    """Parse options of sbatch by their long names, without leading dashes; true means an option without a value."""
    if not isinstance(value, Mapping):
        raise _Wrong
    options = {}
    for name, setting in value.items():
        option = str(name).lstrip("-").replace("_", "-")
        taken = option if option in TAKEN else next((one for one in TAKEN if option and one.startswith(option)), None)
        if taken is not None:
            instead = f"write resources.{TAKEN[taken]}" if TAKEN[taken] else "leave it out"
            raise UserError(f"--{taken} of sbatch is set by this command; {instead}.")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", option):
            raise _Wrong
        if setting is not None:
            try:
                options[option] = True if setting is True or setting == "true" else _text(setting)
            except _Wrong as wrong:
                wrong.option = name
                raise
    return options


TEXT = "text, and not several lines"
COUNT = "a whole number from 1"
RESOURCES = {
    "mem_gb": Resource(_gigabytes, "memory in GB, as in 40, 40G or 512M", "mem", default=4),
    "cpus": Resource(_whole(1), COUNT, "cpus_per_task", default=1),
    "gpus": Resource(_gpus, "a whole number, with or without a type, as in 4 or a100:4", "gpus_per_node"),
    "timeout_min": Resource(
        _minutes, "whole minutes, or hours:minutes:seconds, as in 90, 2:00:00 or 1-12:00:00", "time", default=120
    ),
    "partition": Resource(_text, TEXT, "partition"),
    "account": Resource(_text, TEXT, "account"),
    "qos": Resource(_text, TEXT, "qos"),
    "constraint": Resource(_text, TEXT, "constraint"),
    "nodelist": Resource(_text, TEXT, "nodelist"),
    "exclude": Resource(_text, TEXT, "exclude"),
    "gres": Resource(_text, TEXT, "gres"),
    "reservation": Resource(_text, TEXT, sbatch="reservation"),
    "nice": Resource(_whole(-math.inf), "a whole number", sbatch="nice"),
    "sbatch": Resource(_options, "options of sbatch by name, as in {mail-type: END, exclusive: true}"),
    "setup": Resource(_lines, "a line of shell, or a list of such lines", "setup"),
    "tasks": Resource(_whole(1), COUNT, "ntasks_per_node"),  # processes of one run on each of `nodes`
    "nodes": Resource(_whole(1), COUNT, "nodes"),
    "pack_min": Resource(_amount, "a number of minutes, 0 for one task per stage"),
    "gpu_gb": Resource(_more, "the memory of a GPU in GB"),
    "gpu_tflops": Resource(_more, "the sustained speed of a GPU in TFLOP/s"),
    "parallelism": Resource(_whole(1), COUNT, "array_parallelism", whole=True),
    "poll_s": Resource(_more, "a number of seconds, more than 0", whole=True),
    "profile": Resource(_text, "a YAML file", whole=True),
}
SPREAD = ("tasks", "nodes")  # only for kinds of stages that train
TAKEN = {  # options of sbatch that are set here or would change its output -> the resource that sets them
    **{
        (one.submitit or one.sbatch).replace("_", "-"): name
        for name, one in RESOURCES.items()
        if one.submitit or one.sbatch
    },
    **dict.fromkeys(("mem-per-cpu", "mem-per-gpu"), "mem_gb"),
    **dict.fromkeys(("gpus", "gpus-per-task", "gpus-per-socket"), "gpus"),
    **{"cpus-per-gpu": "cpus", "ntasks": "tasks"},
    **dict.fromkeys(
        ("array", "clusters", "comment", "dependency", "error", "hold", "job-name", "kill-on-invalid-dep"), ""
    ),
    **dict.fromkeys(("open-mode", "output", "parsable", "quiet", "signal", "test-only", "wait", "wrap"), ""),
}


class Resources:
    """What a sweep asks for, merged over the YAML file that its `profile` names, with parsed values.

    `kinds` maps each kind of stage to whether it trains: only those that train run as several processes. If the
    cluster's jobs do not ask for resources (`asks`), `given` is still checked but has no effect, and no profile is
    read. Raises UserError for a missing profile or one that is no mapping, for unknown names, and for invalid values.
    """

    def __init__(self, given: Mapping[str, Any], kinds: Mapping[str, bool], asks: bool = True) -> None:
        self.kinds, self.asks = kinds, asks
        given = _with_profile(given) if asks else {name: value for name, value in given.items() if name != "profile"}
        self.own = {kind: self._read(given[kind], kind) for kind in (*kinds, COLLECT) if given.get(kind) is not None}
        self.all = self._read({name: value for name, value in given.items() if name not in (*kinds, COLLECT)})
        for kind in kinds:
            self._check_gpus(kind)
        if not asks:
            self.own, self.all = {}, {}

    def _check_gpus(self, kind: str) -> None:
        wants = self.wanted(kind)
        gpus, tasks = wants.get("gpus", 0), wants.get("tasks", 1)
        if 0 < gpus < tasks:
            raise UserError(
                f"resources: {tasks} processes of a {kind} stage would share {gpus} GPU{'s' * (gpus > 1)} of a node, "
                f"but each needs one of its own; set gpus to {tasks}, or tasks to {gpus}."
            )

    def _read(self, given: Any, kind: str = "") -> dict[str, Any]:
        """Parse what is asked for all kinds, or for one."""
        where = f"resources.{kind}".rstrip(".")
        if not isinstance(given, Mapping):
            raise UserError(f"{where}: found {as_written(given)}, expected a mapping, as in {{mem_gb: 40}}.")
        read = {}
        for name, value in given.items():
            resource = RESOURCES.get(name)
            if resource is None:
                of, valid = (f" of '{kind}'", RESOURCES) if kind else ("", [*RESOURCES, *self.kinds, COLLECT])
                raise UserError(f"{where}.{name}: unknown resource '{name}'{of}; {nearest(name, valid)}")
            if kind and resource.whole:
                raise UserError(f"{where}.{name}: it is set for the whole sweep; write resources.{name}.")
            if kind and name in SPREAD and not self.kinds.get(kind, False):
                able = " and ".join(name for name, trains in self.kinds.items() if trains)
                raise UserError(f"{where}.{name}: only {able} run as several processes.")
            if value is None:  # as if it were not given
                continue
            try:
                read[name] = resource.read(value)
            except UserError as error:
                raise UserError(f"{where}.{name}: {error}") from None
            except _Wrong as wrong:
                path, found, expected = f"{where}.{name}", value, resource.expected
                if wrong.option:
                    path, found, expected = f"{path}.{wrong.option}", value[wrong.option], TEXT
                instead = f"; write {path.rpartition('.')[2]}: {wrong}" if wrong.args else ""
                raise UserError(f"{path}: found {as_written(found)}, expected {expected}{instead}.") from None
        return read

    def get(self, name: str, default: Any) -> Any:
        """The value asked for all kinds."""
        return self.all.get(name, default)

    def wanted(self, kind: str) -> dict[str, Any]:
        """Return what a stage kind asks for, under our names: plain entries hold for all kinds, mappings for the kind
        they name. `gpus` is a number; `gpu_type` is set as well if a type is asked for.
        """
        spread = () if self.kinds.get(kind, False) else SPREAD
        own = self.own.get(kind, {})
        wants = {name: one.default for name, one in RESOURCES.items() if one.default is not None}
        wants |= {name: value for name, value in self.all.items() if name not in spread} | own
        if options := {**self.all.get("sbatch", {}), **own.get("sbatch", {})}:
            wants["sbatch"] = options
        of, _, count = str(wants.get("gpus", "")).rpartition(":")
        return {**wants, "gpus": int(count), "gpu_type": of} if of else wants

    def for_submitit(self, kind: str) -> dict[str, Any]:
        """Return submitit's parameters for a stage kind."""
        wants = self.wanted(kind)
        memory = wants["mem_gb"]
        wants["mem_gb"] = f"{memory:.0f}GB" if memory % 1 == 0 else f"{memory * 1024:.0f}MB"
        if of := wants.pop("gpu_type", ""):
            wants["gpus"] = f"{of}:{wants['gpus']}"
        asked = {RESOURCES[name].submitit: value for name, value in wants.items() if RESOURCES[name].submitit}
        more = {RESOURCES[name].sbatch: value for name, value in wants.items() if RESOURCES[name].sbatch}
        if more := {**more, **wants.get("sbatch", {})}:
            asked["additional_parameters"] = more
        # how long before its time limit a job is told to save; Slurm may be a minute early
        return {**asked, "signal_delay_s": int(min(90, 15 * wants["timeout_min"]))}

    def seconds_of_task(self, kind: str) -> float:
        """Return the intended duration of a task that runs several stages; 0 if each stage is to have its own task."""
        wants = self.wanted(kind)
        if wants.get("tasks", 1) * wants.get("nodes", 1) > 1:
            return 0.0
        return 60.0 * min(wants.get("pack_min", 10), wants["timeout_min"] / 2)


def _with_profile(given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge what is given over the contents of the file called `profile`."""
    resources = dict(given)
    if resources.get("profile") is None:
        return resources
    import yaml

    path = Path(str(resources.pop("profile")))
    if not path.is_file():
        there = [one.name for one in path.parent.glob("[!.]*.yaml")]
        raise UserError(f"resources.profile: no file '{path}'; {nearest(path.name, there)}")

    class Texts(yaml.SafeLoader):
        """Leaves numbers as they are written, for each resource to parse: YAML would read 2:00:00 as 7200."""

        yaml_implicit_resolvers = {
            letter: [(tag, form) for tag, form in resolvers if tag.endswith((":null", ":merge"))]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        profile = yaml.load(path.read_text(encoding="utf-8"), Loader=Texts)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: this is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(profile, dict):
        raise UserError(f"{path}: expected a mapping of resources, such as 'partition: gpu'.")
    for name, value in profile.items():
        mine = resources.get(name)
        resources[name] = (
            {**value, **mine} if isinstance(value, dict) and isinstance(mine, Mapping) else resources.get(name, value)
        )
    return resources
