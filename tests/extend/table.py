from ablate.data.audio import Recording
from ablate.data.lines import lines
from ablate.data.real.layouts.layout import TableLayout
from ablate.data.real.layouts.registry import TABLES
from ablate.tasks.registry import TASKS
from ablate.tasks.supervised.asr import Recognition


class Commands(TableLayout):
    """Google's Speech Commands: `WORD/SPEAKER_nohash_N.wav`, and two lists of what is not for training."""

    spoken, columns = True, ("text",)

    def needs(self, path, split):
        return [path / "validation_list.txt", path / "testing_list.txt"]

    def rows(self, path, split, faults):
        dev, test = ({line for _, line in lines(file, faults)} for file in self.needs(path, split))
        for file in sorted(path.glob("[!._]*/[!.]*.wav")):
            word, name = file.parent.name, f"{file.parent.name}/{file.name}"
            if split == ("dev" if name in dev else "test" if name in test else "train"):
                yield {"id": name, "voice": file.name.split("_")[0], "text": word, "recording": Recording(file)}


TABLES["commands"] = Commands
TASKS["commands"] = Recognition.Config(table="commands", splits=("test",), head="classes")
