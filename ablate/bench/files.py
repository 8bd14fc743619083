"""Time the planning of a sweep over many recordings: the first time, and again when nothing has changed.

    python -m ablate.bench.files [--recordings N] [--folder DIR]

It makes a folder in LibriSpeech's layout with tiny FLAC files. Each states a different digest of its samples, as real
ones do (the samples themselves are silence: planning decodes nothing). Each planning runs in a process of its own, with
a cache in the same folder, which is removed at the end. The files were just written, so the operating system has them
in memory both times.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 10.0  # seconds for the second planning
SPLITS = {"train": 0.94, "dev-clean": 0.02, "test-clean": 0.02, "test-other": 0.02}  # shares of the recordings
CHAPTER, SPEAKER = 50, 4  # recordings per chapter, chapters per speaker
RATE, SECONDS = 16_000, 0.5
DIGEST = slice(26, 42)  # bytes of a FLAC's header: the MD5 of its samples, at the end of STREAMINFO
WORDS = (
    "the a of and to in he was that it his her with as had you not be for she at on by which have or from this".split()
)
PLAN = """
import sys, time
from ablate.planning.plan import plan_file
began = time.monotonic()
plan = plan_file(sys.argv[1], sys.argv[2:])
print(time.monotonic() - began, len(plan.stages))
"""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 1 when planning again takes longer than the limit."""
    parser = argparse.ArgumentParser(prog="python -m ablate.bench.files", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--recordings", type=int, default=220_000, help="(default: 220000, somewhat less than LibriSpeech has)"
    )
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made for them (default: the system's)")
    options = parser.parse_args(arguments)
    if options.recordings < 100:
        parser.error(f"--recordings is {options.recordings}; expected 100 or more, so that every split has some")
    with tempfile.TemporaryDirectory(prefix="ablate-files-", dir=options.folder) as folder:
        return measure(options.recordings, Path(folder))


def measure(recordings: int, folder: Path) -> int:
    """Make the files, and time both."""
    began = time.monotonic()
    size = write(folder / "data", recordings)
    print(f"{recordings:,} recordings of {size} bytes each written in {time.monotonic() - began:.0f} s", flush=True)
    took = {}
    for what in ("planned", "planned again, unchanged"):
        took[what], whole, stages = planned(folder)
        print(f"{what:<26}{took[what]:6.1f} s; {whole:.1f} s with the start of Python; {stages} stages", flush=True)
    again = took["planned again, unchanged"]
    print(f"limit of planning again: {LIMIT:.0f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(again > LIMIT)


def planned(folder: Path) -> tuple[float, float, int]:
    """Seconds of planning in a process of its own, seconds of that whole process, and the number of planned stages."""
    sweep = folder / "files.yaml"
    sweep.write_text(
        json.dumps(
            {
                "name": "files",
                "data": {"preset": "real", "root": str(folder / "data"), **fields()},
                "base": {"pretrain": {"objectives": {"contrastive": 1.0}, "steps": 10, "decay": 2}},
                "rows": {"speech": {}},
                "tasks": ["asr"],
            }
        )
    )
    environment = {**os.environ, "ABLATE_CACHE": str(folder / "cache")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PLAN, str(sweep), f"root={folder / 'runs'}"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, stages = done.stdout.split()
    return float(seconds), time.monotonic() - began, int(stages)


def fields() -> dict[str, object]:
    """The fields of a corpus's configuration that name exactly these files."""
    train = ["LibriSpeech/train"]
    return {
        "speech": train,
        "pairs": train,
        "asr": train,
        "dev": "LibriSpeech/dev-clean",
        "test": "LibriSpeech/test-clean",
        "test_unseen": "LibriSpeech/test-other",
        "text": [],
        "translation": "",
        "sentiment": "",
        "sentence_pair": "",
        "normalization": "",
        "digits": "",
    }


def write(root: Path, recordings: int) -> int:
    """Write the recordings and their transcripts below `root`; returns the size of a recording in bytes."""
    flac, number = bytearray(silence()), 0
    shares = {split: round(recordings * share) for split, share in SPLITS.items()}
    shares["train"] += recordings - sum(shares.values())
    for split, count in shares.items():
        for first in range(0, count, CHAPTER):
            chapter = number // CHAPTER + 1000
            speaker = chapter // SPEAKER
            folder = root / "LibriSpeech" / split / str(speaker) / str(chapter)
            folder.mkdir(parents=True)
            lines = []
            for utterance in range(min(CHAPTER, count - first)):
                digest = hashlib.md5(f"recording {number}".encode()).digest()
                name = f"{speaker}-{chapter}-{utterance:04d}"
                flac[DIGEST] = digest
                (folder / f"{name}.flac").write_bytes(flac)
                lines.append(f"{name} {' '.join(WORDS[byte % len(WORDS)] for byte in digest).upper()}\n")
                number += 1
            number = -(-number // CHAPTER) * CHAPTER  # the next chapter has another name
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return len(flac)


def silence() -> bytes:
    """A FLAC file of silence."""
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(RATE * SECONDS), dtype="int16"), RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
