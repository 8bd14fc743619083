"""The command that transcribes recordings with a finished run. `python -m ablate.transcribe --help` explains it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.errors import UserError, nearest, plural
from ablate.stages.transcript import FORMATS, Writer
from ablate.store.child import unbroken

HELP = """\
Give recordings to a finished run of a task that reads speech (asr, digits, translation), and print its output: one
line for each recording, its name, a tab, and the words.
"""
MORE = """\
RUN is the folder of a fine-tuning stage or of its score; python -m ablate.sweep FILE --where ROW prints a row's
folders. Recordings are wav, flac, ogg or mp3, of any rate and number of channels. The best hypothesis of the task's
own search is printed, as in its score.

A recording no longer than the longest one in training is transcribed whole. A longer one is cut at its pauses, into
pieces of up to that length (or --piece), and only some pieces are in memory at a time. A run with head: classes says
one thing for each piece.

A recording that cannot be read, or is shorter than 0.1 s, is named, and the others are transcribed. One whose sound is
unlike the speech of the run's training (noise, music, a hum, another kind of recording) is transcribed, and named: its
words are a guess. The bound was learnt from the training's dev recordings, and can be wrong either way.

If the run's features are normalised by speaker (data.normalisation=speaker), it helps to give many recordings of a
speaker together. Each FILE by itself counts as a different speaker; the FILEs after one --speaker are of one speaker.

formats:
  text  a line for each recording: name, tab, words; in files only the words
  json  a line for each recording, an object: file, seconds, text, whole (false if it was stopped within), and pieces,
        each with start and end in seconds, text, and far: how far from the training's speech, unlike above 1
  srt   subtitles, an entry for each piece in which something is said

examples:
  python -m ablate.transcribe runs/finetune/3f/3f0c4bb2a1d95e07 hello.wav another.flac
  python -m ablate.transcribe runs/finetune/3f/3f0c4bb2a1d95e07 --speaker ada/*.wav --speaker ben/*.wav
  python -m ablate.transcribe runs/finetune/3f/3f0c4bb2a1d95e07 lecture.mp3 --format srt > lecture.srt
  python -m ablate.transcribe runs/finetune/3f/3f0c4bb2a1d95e07 talks/*.flac --format json --out transcripts

Ctrl-C writes what was heard so far, also of the recording it is at.

exit status: 0 all were transcribed, 1 a recording was not, 2 the run or an option is wrong, 130 stopped.
"""
SHORTEST = 0.2  # seconds of the longest piece
CLEAR = "\r\033[K"  # the line of progress on a terminal
TELL = {True: 0.5, False: 10.0}  # seconds between two messages, on a terminal and elsewhere


if TYPE_CHECKING:
    from ablate.stages.listening import Listening


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
    parser.add_argument("--format", type=_format, default="text", help="text (the default), json or srt")
    parser.add_argument("--out", metavar="FOLDER", help="write a file for each recording there, instead of printing")
    parser.add_argument(
        "--piece", metavar="SECONDS", type=_piece, help="longest piece; default: the longest recording in training"
    )
    options = parser.parse_intermixed_args(arguments)
    voices = [*([file] for file in options.files), *options.speaker]
    if not voices:
        parser.error("give RUN first, and at least one FILE")
    try:
        return _run(options, voices)
    except KeyboardInterrupt:  # before the first recording
        return 130


def _run(options: argparse.Namespace, voices: Sequence[Sequence[str]]) -> int:
    from ablate.stages.finished import Finished, command  # with torch, which --help does without
    from ablate.stages.listening import Listening

    status = 0

    def act() -> None:
        nonlocal status
        writer = Writer(options.format, options.out, [file for voice in voices for file in voice])
        finished = Finished(options.run)
        listening = Listening(finished, options.into, options.piece)
        if options.speaker and finished.normalisation != "speaker":
            _say("note: this run's features are not normalised by speaker; --speaker changes nothing.")
        if finished.likeness is None:
            _say("note: the run does not say what its training sounds like; what is unlike it cannot be told.")
        status = _transcribe(listening, voices, writer)

    return command(act) or status


def _format(name: str) -> str:
    if name not in FORMATS:
        raise argparse.ArgumentTypeError(f"'{name}' is no format; {nearest(name, FORMATS)}")
    return name


def _piece(text: str) -> float:
    try:
        if (seconds := float(text)) >= SHORTEST:
            return seconds
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is no length of a piece; expected seconds, {SHORTEST:g} or more.")


def _say(line: str) -> None:
    print(f"{CLEAR * sys.stderr.isatty()}{line}", file=sys.stderr, flush=True)


def _transcribe(listening: Listening, voices: Sequence[Sequence[str]], writer: Writer) -> int:
    """Transcribe what can be, and return the exit status."""
    from ablate.stages.listening import transcribed

    live, told, one = sys.stderr.isatty(), time.monotonic(), None
    wrong, done, count = 0, 0, sum(map(len, voices))

    def refuse(error: UserError) -> None:
        nonlocal wrong
        wrong += 1
        _say(f"error: {error}")

    try:
        for one in transcribed(listening, voices, refuse):
            if one.whole:
                print(CLEAR * live, end="", file=sys.stderr, flush=True)
                writer.write(one)
                done += 1
                if note := one.warning():
                    _say(f"note: {note}")
            elif time.monotonic() - told > TELL[live]:
                told = time.monotonic()
                line = f"{plural(done, 'recording')} of {count} done" + (f", {one.place()}" if one.seconds > 60 else "")
                print(f"{CLEAR * live}{line}", end="\n"[live:], file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        within = one is not None and not one.whole
        if within:
            writer.write(one)
        _say(f"stopped: {plural(done, 'recording')} of {count} done{f', {one.place()}' if within else ''}.")
        return 130
    if wrong and count > 1:
        _say(f"{plural(wrong, 'recording')} of {count} could not be transcribed.")
    return 1 if wrong else 0


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
