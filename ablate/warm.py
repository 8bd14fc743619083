"""Preloaded by a forkserver so that forked workers start at once: imports every module that plans or runs a stage.

If a module cannot be imported, the worker that needs it tries again, and its log shows the error.
"""

import gc
import importlib
import traceback


def _load() -> None:
    import torch

    import encoders  # noqa: F401  (before the first optimizer: it helps torch with users without a name)

    torch.set_num_threads(1)  # and one worker per core: results do not depend on the number of cores
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer of a process takes a second to import
    for module in ("ablate.planning.plan", "ablate.stages.execute", "scipy.stats"):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # forked workers share these pages: keep the collector from touching them


try:
    _load()
except Exception:  # the worker imports it again and shows the error
    FAILED = traceback.format_exc()
