from ablate.data.audio import Recording
from ablate.data.lines import lines
from ablate.data.real.layouts.layout import Layout, span
from ablate.data.real.layouts.registry import LAYOUTS


class Kaldi(Layout):
    """`wav.scp`, `utt2spk`, `text` and, where recordings are cut, `segments`. Paths are relative to the folder."""

    expected = "a Kaldi folder with wav.scp"

    def knows(self, path):
        return (path / "wav.scp").is_file()

    def rows(self, path, faults):
        names = [name for name in ("wav.scp", "utt2spk", "text", "segments") if (path / name).exists()]
        said = {name: dict(line.partition(" ")[::2] for _, line in lines(path / name, faults)) for name in names}
        for utterance, part in said.get("segments", {name: name for name in said["wav.scp"]}).items():
            recording, *times = part.split()
            file = said["wav.scp"].get(recording, "|").strip()
            if file.endswith("|"):
                faults.report(f"{path}/wav.scp: '{recording}' is no file, but '{file}'; write its sound into one.")
                continue
            row = {"id": utterance, "voice": said["utt2spk"].get(utterance, utterance).strip()}
            text = {"text": said["text"][utterance].strip()} if utterance in said.get("text", ()) else {}
            yield row | text | {"recording": Recording(path / file, *(span(*times) if times else ()))}


LAYOUTS["kaldi"] = Kaldi
