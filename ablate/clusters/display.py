"""Print what a sweep will do, does, and did. Output is plain lines, with a live view if it goes to a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.clusters import failure
from ablate.clusters.remaining import Left, Remaining, Span, to_do
from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, STOPPED, WAITING, Board
from ablate.errors import plural
from ablate.store import disk
from ablate.store.record import read_json, sweep_path
from ablate.store.stage import Plan, stage_ids

EVERY = 15.0  # seconds between two lines about a running stage
MINUTE = 60.0  # minimum seconds between two lines about why jobs wait
OFTEN = 1.0  # seconds between two estimates of the time left while nothing starts or ends
LITTLE = 0.05  # share of the time that estimates may take, at most
TAIL = 15  # number of lines shown of a failed stage's log
STATES = (DONE, RUNNING, ELSEWHERE, QUEUED, WAITING, BLOCKED, FAILED, STOPPED)


def duration(seconds: float) -> str:
    """Format a duration: 42 s, 7 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


UNITS = (("s", 1.0, 90.0), ("min", 60.0, 7200.0), ("h", 3600.0, 259_200.0), ("days", 86400.0, math.inf))


def between(span: Span) -> str:
    """Format a range of seconds, rounded outwards: 40 to 70 s, 3 to 5 min, 1.8 to 2.3 h, 4 to 6 days."""
    name, unit, _ = next(one for one in UNITS if span.high < one[2])
    places = 10 if name == "h" and span.high < 36_000 else 1
    low, high = math.floor(span.low / unit * places) / places, math.ceil(span.high / unit * places) / places
    if not low:
        return f"{duration(span.low)} to {high:g} {name}" if span.low >= 1 else f"at most {high:g} {name}"
    return f"{low:g} to {high:g} {name}" if low < high else f"{high:g} {name}"


def left_text(left: Left) -> str:
    """Say how much time is left of a board, in few words."""
    return f"{between(left.all)} left" + ", queueing not counted" * left.queue


def plan_text(plan: Plan, board: Board, workers: int, left: Left) -> str:
    """Describe a plan: its rows, its stages, what is shared, done and missing, and the time left."""
    users: dict[str, set[str]] = {}
    for line in plan.manifest:
        for id in stage_ids(line):
            users.setdefault(id, set()).add(line["row"])
    seeds = len({line["seed"] for line in plan.manifest})
    lines = [f"{plan.name}: {plan.sweep.get('question') or ''}".rstrip(": "), ""]
    lines.append(f"{'row':<28}{'after':<22}{'steps':>8}{'stages':>9}{'done':>7}{'shared':>9}")
    for row in (row for row in plan.rows if plan.lines(row)):
        ids = {id for line in plan.lines(row) for id in stage_ids(line) if id in board.state}
        done = sum(board.state[id] == DONE for id in ids)
        shared = sum(len(users[id]) > 1 for id in ids)
        about = plan.lines(row)[0]
        lines.append(f"{row:<28}{about.get('after') or '':<22}{about['steps']:>8}{len(ids):>9}{done:>7}{shared:>9}")
    lines += ["", f"{'stages':<14}{'needed':>8}{'done':>8}{'missing':>9}{'shared by rows':>16}"]
    for kind in dict.fromkeys(stage.kind for stage in board.stages.values()):
        ids = [id for id, stage in board.stages.items() if stage.kind == kind]
        done = sum(board.state[id] == DONE for id in ids)
        shared = sum(len(users.get(id, ())) > 1 for id in ids)
        lines.append(f"{kind:<14}{len(ids):>8}{done:>8}{len(ids) - done:>9}{shared:>16}")
    total, done = len(board.stages), board.count(DONE)
    lines.append(f"{'all':<14}{total:>8}{done:>8}{total - done:>9}")
    draws = plan.sweep.get("finetune_seeds", {}).items()
    several = f", fine-tuned several times: {', '.join(f'{task} {number}' for task, number in draws)}" * bool(draws)
    lines += ["", f"{plural(seeds, 'seed')}{several}. " + (estimate(workers, left) if done < total else "All done.")]
    lines += [*room(board), *(f"note: {note}" for note in plan.notes)]
    return "\n".join(lines)


def room(board: Board) -> list[str]:
    """Say how much the missing stages will write to the disk, and how much is free there."""
    needed = sum(stage.disk for id, stage in board.stages.items() if board.state[id] != DONE)
    if not needed:
        return []
    try:
        free = disk.free(board.root)
    except OSError:  # a full or broken disk is reported where something is written
        return []
    said = f"They will write about {disk.amount(needed)} to the disk of {board.root}"
    said += "." if free is None else f", which has {disk.amount(free)} free."
    if free is None or needed <= free:
        return [said]
    return [
        said,
        "note: That is not enough. Training will wait for disk space; other stages will fail and must be run again.",
    ]


def estimate(workers: int, left: Left) -> str:
    """Say how long the missing stages will take."""
    on = plural(workers, "worker")
    queue = " The time that jobs wait in the queue is not known, and not counted." * left.queue
    return f"{between(left.all)} left on {on} ({between(left.work)} of work), done {end_in(left.all)}.{queue}"


def end_in(span: Span) -> str:
    """Format the times of day, or the dates and times, between which this time from now ends."""
    if span.high > 3e8:
        return "in more than ten years"
    form = "%H:%M" if span.high < 43200 else "%Y-%m-%d %H:%M"
    first, last = (time.strftime(form, time.localtime(time.time() + one)) for one in (span.low, span.high))
    return f"about {first}" if first == last else f"between {first} and {last}"


def status_text(board: Board, left: Left) -> str:
    """List the stages that run, and those that failed with the reason, and count the states."""
    lines = [f"  {describe(board, id, left)}" for id, state in board.state.items() if state in (RUNNING, ELSEWHERE)]
    failed = [id for id, state in board.state.items() if state == FAILED]
    lines += [f"  FAILED {board.stages[id].name}: {board.why.get(id, '')}" for id in failed]
    counts = ", ".join(f"{board.count(state)} {state}" for state in STATES if board.count(state))
    return "\n".join([*lines, *board.remarks, counts + pending_text(board)])


def pending_text(board: Board) -> str:
    """Say why jobs wait in the queue, the most frequent reasons first; '' if none waits."""
    if not board.pending:
        return ""
    return f" (pending: {', '.join(f'{count} {reason}' for reason, count in board.pending.items())})"


def failures_text(board: Board, advice: str) -> str:
    """List what failed and where its log is, and count the stages that need it; empty if nothing failed."""
    failed = [id for id, state in board.state.items() if state == FAILED]
    if not failed:
        return ""
    lines = [f"\n{len(failed)} failed:"]
    for id in failed:
        log = board.folders[id].path / "logs" / "out.txt"
        lines.append(f"  {board.stages[id].name}: {board.why[id]}; {log}")
    lines.append(f"{board.count(BLOCKED)} that need them did not run. Fix the cause and {advice}.\n")
    return "\n".join(lines)


def where_text(plan: Plan, board: Board, row: str) -> str:
    """List the folders of a row's stages. Raises UserError for an unknown row."""
    wanted = {id for line in plan.lines(row) for id in stage_ids(line)}
    lines = [f"{sweep_path(board.root, plan.name)}  the sweep"]
    for id, stage in board.stages.items():
        if id in wanted:
            lines.append(f"{board.folders[id].path}  {stage.name}: {board.state[id]}")
    return "\n".join(lines)


def describe(board: Board, id: str, left: Left) -> str:
    """Describe a running stage in one line."""
    stage, lock = board.stages[id], board.folders[id].holder()
    parts = [stage.name]
    if board.state[id] in (ELSEWHERE, QUEUED):
        parts.append(board.state[id] if lock is None else f"on {lock['host']}, process {lock['pid']}")
    if lock is not None:
        parts += [text for text in progress_of(lock, left.stages.get(id)).values() if text]
    return ", ".join(parts)


def progress_of(lock: Mapping[str, Any], left: Optional[Span]) -> dict[str, str]:
    """Return the progress that a lock holds, as texts: step, loss, rate, left, note."""
    step, steps, rate = lock.get("step", 0), lock.get("steps", 0), lock.get("rate")
    unit = lock.get("unit", "steps")
    return {
        "step": f"{step}/{steps}" + f" {unit}" * (unit != "steps") if steps else "",
        "loss": f"loss {lock['loss']:.3f}" if lock.get("loss") is not None else "",
        "rate": f"{rate:.4g} {unit}/s" if rate else "",
        "left": f"ends in {between(left)}" if left is not None and step else "",
        "note": str(lock.get("note", "")),
    }


def outcome_of(result: Mapping[str, Any]) -> str:
    """Return the most informative numbers of a result."""
    scores = [f"{s['split']} {s['metric']} {s['value']:.4g}{s.get('unit') or ''}" for s in result.get("scores", ())]
    final = [f"{k} {v:.4g}" for k, v in (result.get("final") or {}).items() if isinstance(v, (int, float))][:4]
    dev = result.get("dev") or {}
    best = [f"dev {dev['metric']} {dev['value']:.4g}"] if dev.get("value") is not None else []
    rows = [plural(result["rows"], "row")] if "rows" in result else []  # a table, whose result also says what it lacks
    lacks = {
        "left out": sum((result.get("left_out") or {}).values()) if rows else 0,
        "skipped": len(result.get("skipped") or ()),
        "known to be broken": sum((result.get("known_faults") or {}).values()),
    }
    lost = [f"{plural(n, 'row')} {what}" for what, n in lacks.items() if n] + ["result.json says why"] * any(
        lacks.values()
    )
    return ", ".join([*scores, *best, *final, *rows, *lost])


def log_tail(path: Path, lines: int = TAIL) -> list[str]:
    """Return the last lines of a log; empty when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 20_000))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


class Display:
    """Shows a board as it changes: a line when a stage starts, every 15 s, and when it ends; a live table on a
    terminal.

    On a terminal the table replaces the lines about starts and progress. A failure shows the end of its log at once.
    """

    def __init__(self, remaining: Remaining, console: Optional[Console] = None):
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.remaining = remaining
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.said: dict[str, float] = {}
        self.drawn = 0.0
        self.estimated, self.next, self.left = -math.inf, -math.inf, remaining.estimate()
        self.pending: Mapping[str, int] = {}  # as last printed, and when
        self.told = self.looked = -MINUTE

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print lines above the live table."""
        self.console.print(text, markup=False)

    def __call__(self, board: Board) -> None:
        """Show what changed since the last call."""
        now = time.monotonic()
        running = [id for id, state in board.state.items() if state in (RUNNING, ELSEWHERE)]
        due = [id for id in running if self.live is None and now - self.said.get(id, now) >= EVERY]
        if now > self.next and (board.events or due or now - self.estimated > OFTEN):
            self.left = self.remaining.estimate()
            self.estimated = time.monotonic()
            self.next = self.estimated + (self.estimated - now) / LITTLE
        while board.events:
            self._event(board, *board.events.pop(0))
        if running and now - self.looked >= EVERY:
            self.looked = now
            self._room(board)
        if self.live is None:
            for id in due:
                self.said[id] = now
                self._line("   ", describe(board, id, self.left), board)
            if board.pending != self.pending and now - self.told >= MINUTE:
                self.told, self.pending = now, board.pending
                if board.pending:
                    self._line("   ", f"{board.count(QUEUED)} queued{pending_text(board)}", board)
        elif now - self.drawn > 0.4:
            self.drawn = now
            self.live.update(self._view(board, running), refresh=True)

    def _room(self, board: Board) -> None:
        """Say that the disk is full: a stage that cannot begin for this reason has no log to say so in."""
        try:
            disk.check(board.root, disk.LEAST)
        except OSError as error:
            self.say(f"{time.strftime('%H:%M:%S')} note    {board.root}: {disk.why(error.errno, board.root)}")

    def _line(self, mark: str, text: str, board: Board) -> None:
        done = f"{board.count(DONE)}/{len(board.stages)} done"
        left = f", {left_text(self.left)}" if to_do(board) else ""
        self.say(f"{time.strftime('%H:%M:%S')} {mark:<7} {text}  [{done}{left}]")

    def _event(self, board: Board, id: str, state: str) -> None:
        stage, folder = board.stages[id], board.folders[id]
        name = stage.name
        if state in (RUNNING, ELSEWHERE):
            self.said[id] = time.monotonic()
            if self.live is None:
                self._line("start" if state == RUNNING else "follow", describe(board, id, self.left), board)
        elif state == DONE:
            result = folder.result()
            took, numbers = duration(result.get("seconds", 0.0)), outcome_of(result)
            self._line("done", f"{name}, {took}" + (f": {numbers}" if numbers else ""), board)
        elif state == FAILED:
            self._line("FAILED", f"{name}: {board.why.get(id, '')}", board)
            for log in failure_logs(folder.path):
                self.say("\n".join([*(f"        | {line}" for line in log_tail(log)), f"        log: {log}"]))
        elif state == STOPPED:
            self._line("stopped", name, board)
        elif state == WAITING and board.why.get(id):
            self._line("again", f"{name}: {board.why[id]}", board)

    def _view(self, board: Board, running: list[str]) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for id in running:
            texts = progress_of(board.folders[id].holder() or {}, self.left.stages.get(id))
            cells = [texts[k] for k in ("step", "loss", "rate", "left", "note")]
            table.add_row(board.stages[id].kind, Text(board.stages[id].title), *map(Text, cells))
        bar = Table.grid(padding=(0, 2, 0, 0))
        counts = ", ".join(f"{board.count(s)} {s}" for s in STATES if board.count(s))
        text = f"{counts}{pending_text(board)}" + (f"; {left_text(self.left)}" if to_do(board) else "")
        bar.add_row(ProgressBar(total=1.0, completed=self.remaining.share(self.left), width=30), Text(text))
        return Group(table, bar)


def failure_logs(folder: Path) -> list[Path]:
    """Return the logs that may explain why a stage failed: its own, then those of its other ranks and its Slurm job."""
    logs = [folder / "logs" / "out.txt"]
    if (folder / failure.NAME).exists():
        logs += [Path(log) for log in read_json(folder / failure.NAME)["logs"]]
    return [log for log in dict.fromkeys(logs) if log.exists()]
