"""Submit an array to Slurm, with submitit's script and files, which the job reads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.clusters.local import WORKER_ENVIRONMENT
from ablate.clusters.slurm import controller
from ablate.clusters.slurm.controller import Silent
from ablate.errors import UserError

PATIENCE = 120.0  # seconds to wait for sbatch; after that the fate of the array is unknown
LIMIT = (
    r"submit\w*job\w*limit|job submit limit|MaxSubmitJobs"  # too many jobs of mine: submit more when some have ended
)
NEVER = (  # what Slurm never takes; any other error may be temporary, or may concern only the answer
    r"invalid|unrecognized|requested|violates|denied|not permitted|not available|not allowed|does not exist|no such"
    r"|unable to open|exceed|must specify|required"
)
TIMES = 1000  # a time-out is a requeue like any other; the user decides how often and can cancel


class Full(Exception):
    """Slurm takes no more of my jobs for now."""


def sbatch(folder: Path, count: int, parameters: Mapping[str, Any], mark: str) -> list[str]:
    """Submit an array of `count` tasks (a plain job if it is one), with `mark` as its comment; return the jobs' ids.

    Raises Full for a limit and UserError for what Slurm never takes; in both cases nothing was submitted. Raises Silent
    if that is unknown: sbatch ended without saying so, said something else, or said nothing.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=TIMES)
    extra = {**parameters.get("additional_parameters", {}), "comment": mark}
    executor.update_parameters(**{**parameters, "additional_parameters": extra})
    if count > 1:
        executor.parameters["map_count"] = count
    script = folder / "submission.sh"
    script.write_text(executor._make_submission_file_text(executor._submitit_command_str, ""))
    ours = {**controller.environment(), **WORKER_ENVIRONMENT}  # sbatch passes it on to the job
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    with subprocess.Popen(["sbatch", script], env=ours, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)  # includes whatever a site wraps around sbatch
            raise Silent(f"sbatch said nothing for {PATIENCE:.0f} s") from error
    answer = re.search(r"^Submitted batch job (\d+)(?: on cluster \S+)?$", out, re.MULTILINE)
    if answer and not process.returncode:
        return ids(answer[1], count)
    words = err.strip()
    if re.search(LIMIT, words, re.IGNORECASE):
        raise Full(words)
    if "sbatch: error:" in words and re.search(NEVER, words, re.IGNORECASE):
        raise UserError(f"Slurm refused {count} jobs: {words}")
    raise Silent(f"sbatch: {words or out.strip()[:200] or f'exit status {process.returncode}'}")


def ids(array: str, count: int) -> list[str]:
    """Ids of the jobs of an array of `count` tasks."""
    return [array] if count == 1 else [f"{array}_{i}" for i in range(count)]


def hand_over(folder: Path, jobs: Sequence[str], calls: Sequence[tuple[Any, ...]], minutes: int) -> None:
    """Write what each job calls, a function and its arguments, to the file where the job waits for it for a minute."""
    from submitit.core.utils import DelayedSubmission, JobPaths

    for job, (function, *arguments) in zip(jobs, calls, strict=True):
        call = DelayedSubmission(function, *arguments)
        call.set_timeout(minutes, TIMES)
        paths = JobPaths(folder, job)
        paths.folder.mkdir(parents=True, exist_ok=True)
        call.dump(paths.submitted_pickle)
