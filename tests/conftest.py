"""Shared fixtures; real data is used where it lies beside the checkout, and tests say so when it is absent."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Root of the real corpora (see README, "Your own data"), or skip."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no real corpora beside the checkout (../shared/data)")
    return path
