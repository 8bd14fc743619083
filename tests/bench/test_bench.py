"""`python -m ablate.bench`: the same items for all, peers that are given what they should be, a table of ratios."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ablate.bench import measure, systems
from ablate.bench.catalogue import SYSTEMS
from ablate.bench.items import WORKLOADS, documents, waves
from ablate.bench.measure import Measured, table
from encoders.batch import View

pytest.importorskip("transformers")
from ablate.bench import peers


@pytest.mark.parametrize("workload", WORKLOADS)
def test_both_orders_hold_every_item_once_and_buckets_hold_similar_lengths(workload):
    kind = WORKLOADS[workload]
    lengths, padded = kind.lengths(), {}
    assert kind.least <= lengths.min() < lengths.max() <= kind.most
    for bucketed in (False, True):
        batches = kind.batches(bucketed)
        assert sorted(i for batch in batches for i in batch) == list(range(kind.items))
        padded[bucketed] = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded[True] < 0.8 * padded[False]
    made = waves([3, 5]) if workload == "speech" else documents([3, 5], 7)
    unit = 16_000 if workload == "speech" else 1
    assert [len(x) for x in made] == [int(lengths[i] * unit) for i in (3, 5)]
    assert np.array_equal(made[1], (waves([5]) if workload == "speech" else documents([5], 7))[0])


def test_padding_does_not_reach_what_a_peer_is_scored_on():
    """The adapter's masks are right: an utterance's positions are the same in a padded batch and alone."""
    torch.manual_seed(0)
    encoder = peers.Wav2Vec2Bert("nano").eval()
    batch, alone = (systems.speech(items).inputs for items in ([0, 1, 2], [1]))
    lengths = encoder.subsampled(batch.lengths)
    with torch.no_grad():
        packed = encoder(View(inputs=batch, speech_masked_I=torch.tensor([], dtype=torch.long))).stages["joint"]
        single = encoder(View(inputs=alone, speech_masked_I=torch.tensor([], dtype=torch.long))).stages["joint"]
    torch.testing.assert_close(packed.split(lengths)[1], single, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("workload", "name"), [(w, s.name) for w in SYSTEMS for s in SYSTEMS[w] if s.needs != "espnet2"]
)
def test_every_system_takes_a_step(workload, name):
    (system,) = (s for s in SYSTEMS[workload] if s.name == name)
    torch.manual_seed(0)
    shortest = WORKLOADS[workload].batches(bucketed=True)[0][:2]
    system.make("nano")(shortest)


def test_table_by_hand():
    ours = Measured("ours", "packed", [100.0, 120.0, 110.0], [0.6, 0.7, 0.65], 0.5)
    peer = Measured("peer", "unsorted", [50.0, 30.0, 11.0], [0.2, 0.4, 0.3], 2.0)
    lines = table("text", "tiny", [ours, peer]).splitlines()
    assert lines[-2] == "| ours | packed | 110 | 1.00× | 0.65 | 0.50 | 1.00× |"
    assert lines[-1] == "| peer | unsorted | 30.0 | 4.00× | 0.30 | 2.00 | 0.25× |"  # the median of 2, 4 and 10


@pytest.mark.slow
def test_command_measures_in_turns_and_names_what_is_unknown():
    command = [sys.executable, "-m", "ablate.bench"]
    root = Path(measure.__file__).parents[2]
    done = subprocess.run(
        [*command, "text", "--shapes", "nano", "--rounds", "1", "--only", "modern"],
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert rows == ["ablate Transformer", "HF ModernBertForMaskedLM", "HF ModernBertForMaskedLM"]
    done = subprocess.run([*command, "texts"], capture_output=True, text=True, cwd=root)
    assert done.returncode == 2 and "unknown workload 'texts'; there are: speech, text" in done.stderr
