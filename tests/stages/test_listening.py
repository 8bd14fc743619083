"""Recordings given to a finished run: bad ones, long ones, several of a speaker; formats, and what Ctrl-C keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tiny import World

from ablate import transcribe
from ablate.data import audio, likeness
from ablate.data.speaker import less_mean
from ablate.stages import listening
from ablate.stages.finished import Finished
from ablate.stages.listening import Listening
from ablate.stages.transcript import Piece, Transcript

RATE = 16_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fine-tuned recogniser that knows what its training is like."""
    patch = pytest.MonkeyPatch()
    patch.setattr(likeness, "FEWEST", 5)
    world = World(tmp_path_factory.mktemp("runs"))
    leaf = world.pretrain("masked_text", steps=0, phase="decay")
    tuned, _ = world.finetune("asr", leaf, steps=10, evaluate_every=10)
    made = world.run(tuned)
    patch.undo()
    return made


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def words(count: int) -> np.ndarray:
    """Bursts of half a second with pauses of as much before each."""
    return np.concatenate([np.concatenate([1e-3 * noise(0.5, n), noise(0.5, n)]) for n in range(count)])


def lines(run, capsys, *arguments, status: int = 0) -> tuple[list[str], str]:
    assert transcribe.main([str(run.path), *map(str, arguments)]) == status
    said = capsys.readouterr()
    return said.out.splitlines(), said.err


def test_bad_recordings_are_named_and_the_others_transcribed(run, tmp_path, capsys):
    for name, wave in {"good": noise(1), "short": noise(0.09), "silent": np.zeros(RATE), "last": noise(0.1)}.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.wav").write_text("no audio at all\n" * 50)
    names = ("good", "short", "silent", "cut", "text", "goood", "last")
    out, err = lines(run, capsys, *(tmp_path / f"{name}.wav" for name in names), tmp_path, status=1)
    assert [line.partition("\t")[0] for line in out] == [str(tmp_path / "good.wav"), str(tmp_path / "last.wav")]
    errors = [line.removeprefix(f"error: {tmp_path}") for line in err.splitlines() if line.startswith("error")]
    for said, wanted in zip(
        errors,
        (
            "/short.wav: lasts 0.09 s, too short for a word: expected at least 0.1 s.",
            "/silent.wav: holds only silence",
            "/cut.wav: is cut off",
            "/text.wav: cannot be read as audio",
            f"/goood.wav: there is no such audio file; did you mean '{tmp_path}/good.wav'?",
            ": is a folder; give the recordings in it",
        ),
        strict=True,
    ):
        assert said.startswith(wanted), said
    assert err.splitlines()[-1] == "6 recordings of 8 could not be transcribed."


def test_a_bad_recording_of_a_speaker_leaves_the_speakers_others(run, tmp_path, capsys):
    soundfile.write(tmp_path / "good.wav", noise(1), RATE)
    out, err = lines(run, capsys, "--speaker", tmp_path / "none.wav", tmp_path / "good.wav", status=1)
    assert len(out) == 1 and "none.wav: there is no such audio file" in err


def test_a_long_recording_is_heard_in_pieces_as_they_are_alone(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(listening, "TOGETHER", 120)  # a piece or two at a time
    soundfile.write(tmp_path / "long.wav", words(7), RATE)
    (line,), _ = lines(run, capsys, tmp_path / "long.wav", "--format", "json", "--piece", "0.9")
    said = json.loads(line)
    assert said["whole"] and said["seconds"] == 7 and len(said["pieces"]) == 7
    for number, piece in enumerate(said["pieces"]):
        assert number + 0.38 <= piece["start"] <= number + 0.51 and number + 0.98 <= piece["end"] <= number + 1.12
    wave, _ = audio.samples(audio.Recording(tmp_path / "long.wav"))
    for number, piece in enumerate(said["pieces"]):
        first, last = (round(piece[end] * RATE) for end in ("start", "end"))
        soundfile.write(tmp_path / f"{number}.wav", wave[first:last], RATE)
    alone, _ = lines(run, capsys, *(tmp_path / f"{number}.wav" for number in range(7)))
    assert [one.partition("\t")[2] for one in alone] == [piece["text"] for piece in said["pieces"]]


def test_pieces_follow_the_training_and_stay_short(run, tmp_path):
    heard = Listening(Finished(run.path))
    frames = heard.finished.train.frames
    assert heard.longest == frames.max() / 100 and heard.shortest == max(0.1, np.median(frames) / 200)
    longest = Listening(Finished(run.path), longest=0.5)
    soundfile.write(tmp_path / "long.wav", noise(30), RATE)
    parts = longest.pieces(str(tmp_path / "long.wav"), 30.0)
    assert max(len(longest._raw(part)) for part in parts) <= 50
    assert heard.pieces(str(tmp_path / "long.wav"), heard.longest) == [audio.Recording(tmp_path / "long.wav")]


def test_the_mean_of_a_speaker_is_over_all_the_speakers_pieces(run, tmp_path, monkeypatch):
    finished = Finished(run.path)
    monkeypatch.setattr(finished, "normalisation", "speaker")
    monkeypatch.setattr(type(finished.train), "means", np.full((3, 80), -1.0, np.float32))
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", noise(1 + number, number), RATE)
    parts = [audio.Recording(tmp_path / f"{number}.wav") for number in range(2)]
    heard, raw = Listening(finished), [audio.features(part, "speaker") for part in parts]
    mean_M = heard.mean([heard.total([part]) for part in parts])
    for mel_FM, wanted_FM in zip(raw, less_mean(raw, np.full(80, -1.0)), strict=True):
        np.testing.assert_array_equal((mel_FM - mean_M).astype(np.float16), wanted_FM)


def test_what_is_unlike_the_training_is_named(run, tmp_path, capsys):
    finished = Finished(run.path)
    assert finished.likeness is not None and (run.files / "likeness.json").exists()
    train = finished.train
    assert np.mean([finished.likeness.far(train.mel(row)) > 1 for row in range(len(train))]) < 0.1
    soundfile.write(tmp_path / "noise.wav", noise(1), RATE)
    (line,), err = lines(run, capsys, tmp_path / "noise.wav", "--format", "json")
    (piece,) = json.loads(line)["pieces"]
    assert piece["unlike"] and f"note: {tmp_path}/noise.wav is unlike the speech of the run's training" in err


def test_a_record_without_it_says_so_once(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ablate.stages.finished.LIKENESS", "none.json")
    soundfile.write(tmp_path / "noise.wav", noise(1), RATE)
    (line,), err = lines(run, capsys, tmp_path / "noise.wav", "--format", "json")
    assert err.splitlines() == [
        "note: the run does not say what its training sounds like; what is unlike it cannot be told."
    ]
    assert set(json.loads(line)["pieces"][0]) == {"start", "end", "text"}


def test_what_ctrl_c_finds_heard_is_written(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(listening, "TOGETHER", 1)
    soundfile.write(tmp_path / "first.wav", noise(0.5), RATE)
    soundfile.write(tmp_path / "long.wav", words(7), RATE)
    hear, times = Finished.hear, []

    def stopped(self, mels, into=""):
        times.append(len(mels))
        if len(times) == 4:
            raise KeyboardInterrupt
        return hear(self, mels, into)

    monkeypatch.setattr(Finished, "hear", stopped)
    files = (tmp_path / "first.wav", tmp_path / "long.wav", tmp_path / "never.wav")
    out, err = lines(run, capsys, *files, "--format", "json", "--piece", "0.9", status=130)
    first, long = map(json.loads, out)
    assert first["whole"] and not long["whole"] and len(long["pieces"]) == 2
    assert err.splitlines()[-1].startswith("stopped: 1 recording of 3 done, 00:00:02 of 00:00:07 of ")


def test_files_are_written_one_for_each_recording(run, tmp_path, capsys):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", noise(0.5), RATE)
    one, other, out = tmp_path / "x/a.wav", tmp_path / "y/a.wav", tmp_path / "out"
    _, err = lines(run, capsys, one, other, "--out", out, status=2)
    assert err == f"error: '{one}' and '{other}' would both be written to {out}/a.txt; run twice.\n"
    _, err = lines(run, capsys, one, other, "--format", "srt", status=2)
    assert "add --out FOLDER" in err
    printed, _ = lines(run, capsys, one)
    assert lines(run, capsys, one, "--out", out)[0] == []
    assert (out / "a.txt").read_text() == printed[0].partition("\t")[2] + "\n"


def test_formats():
    one = Transcript("a\u00e9.wav", 3725.5, [Piece(0.0, 1.25, "ada eats", 0.5), Piece(2.0, 3.0, "", 3.0)])
    one.pieces.append(Piece(3723.4567, 3725.5, "ben", 0.25))
    assert one.written("text") == "a\u00e9.wav\tada eats ben\n"
    assert one.written("srt") == (
        "1\n00:00:00,000 --> 00:00:01,250\nada eats\n\n2\n01:02:03,457 --> 01:02:05,500\nben\n\n"
    )
    got = json.loads(one.written("json"))
    assert (
        got["text"] == "ada eats ben"
        and got["whole"] is False
        and got["pieces"][1]
        == {
            "start": 2.0,
            "end": 3.0,
            "text": "",
            "far": 3.0,
            "unlike": True,
        }
    )
    said = "1 of 3 pieces are unlike the speech of the run's training, at 00:00:02."
    assert one.warning() == f"a\u00e9.wav: {said}" and replace(one, pieces=one.pieces[::2]).warning() == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "jsn"], "'jsn' is no format; did you mean 'json'?"),
        (["--piece", "0.1"], "'0.1' is no length of a piece; expected seconds, 0.2 or more."),
        (["--piece", "long"], "'long' is no length of a piece"),
    ],
)
def test_wrong_options_are_named(options, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        transcribe.main(["RUN", "a.wav", *options])
    assert said in capsys.readouterr().err


def test_nothing_is_imported_that_is_not_needed():
    """It is most of what a word costs: --help needs no torch, and no recording at 16 kHz scipy's largest parts."""
    told = "import sys, ablate.transcribe as _; early = 'torch' in sys.modules; import ablate.stages.listening as _; "
    told += "large = {'scipy.stats', 'scipy.signal', 'xformers', 'sympy'}; print(early, large & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert done.stdout == "False set()\n", done.stderr
