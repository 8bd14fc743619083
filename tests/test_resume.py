"""A whole sweep on the built-in world, killed again and again, ends in the table of one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kills import kill, members

ROOT = Path(__file__).resolve().parents[1]
SWEEP = """
question: Does it survive?
data: {preset: builtin, speech: 60, text: 200, pairs: 40, asr: 40, translation: 40, sentiment: 40, sentence_pair: 40,
       normalization: 40, dev: 20, test: 20, retrieval: 20, text_dev: 20, text_test: 20}
base:
  tokenizer: {size: 200, bytes: false}
  pretrain:
    objectives: {contrastive: 1.0, masked_speech: 1.0, masked_text: 1.0}
    steps: 60
    decay: 20
    update: {speech: 8 s, text: 120 tokens, pairs: 3}
  tasks:
    asr: {steps: 60, items: 4, evaluate_every: 20}
    translation: {steps: 40, items: 4, evaluate_every: 20, tokenizer: {size: 150}}
    sentiment: {steps: 40, evaluate_every: 10}
    normalization: {steps: 40, items: 4, evaluate_every: 20}
rows:
  scratch: {pretrain: {steps: 0, decay: 0}}
  text_only: {encoder: {reads: [text]}, pretrain: {objectives: {contrastive: null, masked_speech: null}}}
  joint: {}
  joint_longer: {after: joint}
  joint_tlm_stm: {after: joint, pretrain: {objectives: {tlm: 1.0, stm: 1.0}}}
tasks: [asr, translation, sentiment, normalization, retrieval, pairing, codes]
"""


def command(tmp_path: Path, root: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "ablate.sweep", str(tmp_path / "tough.yaml"), f"root={tmp_path / root}", "workers=2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=dict(os.environ),
    )


def finished(process: subprocess.Popen) -> str:
    output = process.communicate(timeout=900)[0].decode()
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_in_the_same_table(tmp_path):
    (tmp_path / "tough.yaml").write_text(SWEEP)
    began = time.monotonic()
    finished(command(tmp_path, "calm"))
    seconds = time.monotonic() - began
    draws = random.Random(0)
    for number in range(10):
        process = command(tmp_path, "rough")
        time.sleep(draws.uniform(0.03, 0.35) * seconds)
        if number % 2:  # the driver alone: its workers must notice
            process.send_signal(signal.SIGKILL if number % 4 == 1 else signal.SIGINT)
        else:  # everything at once, as a power cut does
            kill(members(process.pid))
        process.communicate(timeout=120)
    finished(command(tmp_path, "rough"))
    tables = [(tmp_path / root / "sweeps" / "tough" / "table.csv").read_bytes() for root in ("calm", "rough")]
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") > 20

    began = time.monotonic()
    again = finished(command(tmp_path, "rough"))
    assert time.monotonic() - began < 30  # on an idle machine a few seconds
    assert " start " not in again
