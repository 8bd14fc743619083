"""The command that predicts outputs for lines of text with a finished run: see `python -m ablate.predict --help`."""

from __future__ import annotations

import argparse
import sys

from ablate.errors import UserError
from ablate.stages.finished import Finished, command
from ablate.store.child import unbroken

HELP = """\
Give lines of text to a finished run of a task that reads text (sentiment, a sentence pair, normalization), and print
its output for each: a label, a number, or the spoken form, one line for each line read.
"""
MORE = """\
RUN is the folder of a fine-tuning stage or of its score; python -m ablate.sweep FILE --where ROW prints a row's
folders. Lines are UTF-8; the two texts of a pair are separated by a tab. Lines are lower-cased if all of the task's
training text is lower-case.

examples:
  echo "a gripping , funny film" | python -m ablate.predict runs/finetune/3f/3f0c4bb2a1d95e07
  printf 'It rains.\\tIt is wet.\\n' | python -m ablate.predict runs/finetune/a1/a1d95e073f0c4bb2

exit status: 0 all were predicted, 2 the run or a line is wrong.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ablate.predict",
        description=HELP,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="folder of the finished run")
    options = parser.parse_args(arguments)

    def act() -> None:
        finished = Finished(options.run)
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
            lines = text.removesuffix("\n").split("\n")  # only a newline ends a line
        except UnicodeDecodeError as error:
            raise UserError(f"The input is not UTF-8 (byte {error.start + 1}); convert it first.") from None
        for made in finished.predict(lines if lines != [""] else []):
            print(" ".join(str(made).split()))

    return command(act)


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
