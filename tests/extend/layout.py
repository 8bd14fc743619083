from ablate.data.audio import FORMATS, Recording
from ablate.data.lines import lines
from ablate.data.real.layouts.folders import entries
from ablate.data.real.layouts.layout import Layout, span
from ablate.data.real.layouts.registry import LAYOUTS


class Labels(Layout):
    """Audacity's label tracks: `NAME.labels` with `START<TAB>STOP<TAB>TEXT` a line, beside `NAME.wav` (or .flac, …)."""

    expected = "a folder with Audacity's .labels"

    def knows(self, path):
        return any(entry.name.endswith(".labels") for entry in entries(path))

    def rows(self, path, faults):
        names = [entry.name.rpartition(".") for entry in entries(path)]
        recordings = {name: f"{name}.{suffix}" for name, _, suffix in names if f".{suffix}" in FORMATS}
        for name in [name for name, _, suffix in names if suffix == "labels"]:
            for number, line in lines(path / f"{name}.labels", faults):
                start, stop, text = line.split("\t", 2)
                if name not in recordings:
                    faults.report(f"{path}/{name}.labels, line {number}: there is no recording {name}.wav beside it.")
                    break
                recording = Recording(path / recordings[name], *span(start, stop))
                yield {"id": f"{name}-{number}", "voice": name, "text": text, "recording": recording}


LAYOUTS["labels"] = Labels
