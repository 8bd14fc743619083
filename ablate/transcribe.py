"""The command that transcribes recordings with a finished run. `python -m ablate.transcribe --help` explains it."""

from __future__ import annotations

import argparse
import sys

from ablate.stages.finished import Finished, command
from ablate.store.child import unbroken

HELP = """\
Give recordings to a finished run of a task that reads speech (asr, digits, translation), and print its output: one
line for each recording, its name, a tab, and the words.
"""
MORE = """\
RUN is the folder of a fine-tuning stage or of its score; python -m ablate.sweep FILE --where ROW prints a row's
folders. Recordings are wav, flac, ogg or mp3, of any rate and number of channels. Recordings longer than those in
training are transcribed whole. The best hypothesis of the task's own search is printed, as in its score.

If the run's features are normalised by speaker (data.normalisation=speaker), it helps to give many recordings of a
speaker together. Each FILE by itself counts as a different speaker; the FILEs after one --speaker are of one speaker.

examples:
  python -m ablate.transcribe runs/finetune/3f/3f0c4bb2a1d95e07 hello.wav another.flac
  python -m ablate.transcribe runs/finetune/3f/3f0c4bb2a1d95e07 --speaker ada/*.wav --speaker ben/*.wav

exit status: 0 all were transcribed, 2 the run or a recording is wrong.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ablate.transcribe",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="folder of the finished run")
    parser.add_argument("files", metavar="FILE", nargs="*", help="recordings, each of a different speaker")
    parser.add_argument(
        "--speaker", metavar="FILE", nargs="+", action="append", default=[], help="recordings of one speaker; repeat"
    )
    parser.add_argument(
        "--into", metavar="LANGUAGE", default="", help="target language, for a run that translates into several"
    )
    options = parser.parse_intermixed_args(arguments)

    voices = [*([file] for file in options.files), *options.speaker]
    files = [file for voice in voices for file in voice]
    if not files:
        parser.error("give RUN first, and at least one FILE")

    def act() -> None:
        speakers, run = [number for number, voice in enumerate(voices) for _ in voice], Finished(options.run)
        if options.speaker and run.normalisation != "speaker":
            print(
                "note: this run's features are not normalised by speaker; --speaker changes nothing.", file=sys.stderr
            )
        said = run.transcribe(files, options.into, speakers)
        for file, words in zip(files, said, strict=True):
            print(file, " ".join(words.split()), sep="\t")

    return command(act)


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
