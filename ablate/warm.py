"""What a forkserver preloads, so that a worker forked from it starts at once: every module that plans or runs a stage.

A module that cannot be imported is left to the worker that needs it, whose log then shows the error.
"""

import gc
import importlib
import traceback


def _load() -> None:
    import torch

    torch.set_num_threads(1)  # one worker per core, one thread per worker; results do not depend on the machine
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer of a process takes a second to import
    for module in ("ablate.planning.plan", "ablate.stages.execute"):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # forked workers share these pages: keep the collector from touching them


try:
    _load()
except Exception:  # imported again, and shown, in the worker
    FAILED = traceback.format_exc()
