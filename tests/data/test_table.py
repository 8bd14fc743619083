import numpy as np
import pytest
import soundfile

from ablate.data.audio import Recording, features
from ablate.data.audio import frames as frames_of
from ablate.data.recordings import Recordings, RecordingsWriter
from ablate.data.table import Table, TableWriter
from ablate.errors import UserError


def frames(count, value):
    return np.full((count, 80), value, np.float32)


def test_rows_and_frames_come_back(tmp_path):
    with TableWriter(tmp_path / "asr.train") as writer:
        for i, count in enumerate((3, 1, 360)):
            writer.add({"id": f"a{i}", "text": "schön"}, frames(count, i + 0.5))
    table = Table(tmp_path / "asr.train", "asr.train")
    assert len(table) == 3 and table.has_audio
    assert table.fields == ("id", "text", "seconds", "frames")
    assert table.rows[2] == {"id": "a2", "text": "schön", "seconds": 3.6, "frames": 360}
    assert table.frames.tolist() == [3, 1, 360]
    for i, count in enumerate((3, 1, 360)):
        mel = table.mel(i)
        assert mel.shape == (count, 80) and mel.dtype == np.float16 and (mel == i + 0.5).all()
    assert (tmp_path / "asr.train/own/mel.f16").stat().st_size == 364 * 80 * 2


def test_text_tables_have_no_frames(tmp_path):
    with TableWriter(tmp_path / "text.train") as writer:
        writer.add({"id": "0", "text": "a b"})
    table = Table(tmp_path / "text.train", "text.train")
    assert not table.has_audio and list(table.rows) == [{"id": "0", "text": "a b"}]


def test_an_empty_table_can_be_read(tmp_path):
    TableWriter(tmp_path / "text.dev").close()
    table = Table(tmp_path / "text.dev", "text.dev")
    assert len(table) == 0 and table.fields == ()


def test_writing_again_leaves_nothing_of_before(tmp_path):
    with TableWriter(tmp_path / "asr.dev") as writer:
        writer.add({"id": "0"}, frames(5, 1))
        writer.add({"id": "1"}, frames(5, 1))
    with TableWriter(tmp_path / "asr.dev") as writer:
        writer.add({"id": "2"})
    table = Table(tmp_path / "asr.dev", "asr.dev")
    assert list(table.rows) == [{"id": "2"}] and not table.has_audio


def test_rows_are_all_spoken_or_none(tmp_path):
    with TableWriter(tmp_path / "asr.train") as writer:
        writer.add({"id": "0"}, frames(5, 1))
        with pytest.raises(ValueError, match="either all rows are spoken or none"):
            writer.add({"id": "1"})


@pytest.mark.parametrize("shape", [(0, 80), (3, 40), (240,)])
def test_frames_of_a_wrong_shape_are_refused(tmp_path, shape):
    with TableWriter(tmp_path / "asr.train") as writer, pytest.raises(ValueError, match="expected .F > 0, 80"):
        writer.add({"id": "0"}, np.zeros(shape, np.float32))


def test_rows_point_into_recordings_that_are_decoded_once(tmp_path):
    """In the canonical order, whatever that of writing was; two tables and a row that is there twice share frames."""
    for name, counts in (("a", (3, 1)), ("b", (2,))):
        with RecordingsWriter(tmp_path / name) as writer:
            places = [writer.add(frames(count, count + 0.5)) for count in counts]
        assert places == list(range(len(counts))) and writer.frames == sum(counts)
    sources = [Recordings(tmp_path / name) for name in ("a", "b")]
    with TableWriter(tmp_path / "asr", ["id of a", "id of b"]) as writer:
        for id, recording, count in (("x", (0, 1), 1), ("y", (1, 0), 2), ("z", (0, 0), 3), ("z again", (0, 0), 3)):
            writer.add({"id": id}, recording=recording, frames=count)
        writer.close([2, 3, 0, 1])
    table = Table(tmp_path / "asr", "asr.train", sources)
    assert [row["id"] for row in table.rows] == ["z", "z again", "x", "y"] and table.frames.tolist() == [3, 3, 1, 2]
    assert [float(table.mel(i)[0, 0]) for i in range(4)] == [3.5, 3.5, 1.5, 2.5] and table.stored
    assert (tmp_path / "asr" / "recordings.json").read_text() == '["id of a", "id of b"]'
    assert not list((tmp_path / "asr").rglob("mel.f16")) and table.hours == pytest.approx(9 * 0.01 / 3600)


def test_an_order_has_every_row_once(tmp_path):
    writer = TableWriter(tmp_path / "text")
    writer.add({"id": "0"}), writer.add({"id": "1"})
    with pytest.raises(AssertionError, match="every row once"):
        writer.close([0, 0])


def test_recordings_are_all_of_one_kind(tmp_path):
    with RecordingsWriter(tmp_path / "some") as writer:
        writer.add(frames(2, 1.0))
        with pytest.raises(ValueError, match="other parts than those before"):
            writer.add(None, 3, {"path": "a.wav"})
        with pytest.raises(ValueError, match="has no frames"):
            writer.add(None, 0)


def test_rows_are_a_sequence_that_stays_on_disk(tmp_path):
    with TableWriter(tmp_path / "text.train") as writer:
        for i in range(5):
            writer.add({"id": str(i), "text": "ü" * i})
    rows = Table(tmp_path / "text.train", "text.train").rows
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4"] and rows[-1]["text"] == "üüüü"
    assert rows[1:4:2] == [rows[1], rows[3]] and rows[2] is not rows[2]
    with pytest.raises(IndexError):
        rows[5]


def test_the_mean_over_a_speaker_s_frames_is_taken_away(tmp_path):
    said = [("ada", 1, 2.0), ("bob", 2, 5.0), ("ada", 3, 6.0)]  # ada: (1 * 2 + 3 * 6) / 4 = 5
    with TableWriter(tmp_path / "asr.train") as writer:
        for i, (voice, count, value) in enumerate(said):
            mel = frames(count, value)
            writer.add({"id": str(i), "voice": voice}, mel, sum_M=mel.sum(0))
    table = Table(tmp_path / "asr.train", "asr.train")
    assert not table.centred and [float(table.mel(i)[0, 7]) for i in range(3)] == [-3.0, 0.0, 1.0]
    assert table.mel(2).dtype == np.float16 and table.mel(2).shape == (3, 80)
    with TableWriter(tmp_path / "asr.train") as writer:
        writer.add({"id": "0", "voice": "ada"}, frames(1, 2.0))
    again = Table(tmp_path / "asr.train", "asr.train")
    assert again.centred and (again.mel(0) == 2).all()


def test_frames_made_of_recordings_are_those_that_are_stored(tmp_path):
    recordings = [Recording(tmp_path / "a.wav", start, stop) for start, stop in ((0.0, None), (0.25, 0.75))]
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=8000) * 0.1, 8000)
    for name in ("stored", "read"):
        with RecordingsWriter(tmp_path / name) as sounds, TableWriter(tmp_path / f"{name}.table", [name]) as writer:
            for i, recording in enumerate(recordings):
                mel = features(recording) if name == "stored" else None
                place = sounds.add(mel, frames_of(recording), recording.fields(tmp_path))
                writer.add({"id": str(i)}, recording=(0, place), frames=frames_of(recording))
    stored, read = (
        Table(tmp_path / f"{name}.table", name, [Recordings(tmp_path / name, tmp_path)]) for name in ("stored", "read")
    )
    assert stored.stored and not read.stored and read.has_audio
    assert stored.frames.tolist() == read.frames.tolist() == [98, 48]
    assert all((stored.mel(i) == read.mel(i)).all() for i in (0, 1))
    assert stored.hours == read.hours
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(size=9000) * 0.1, 8000)
    with pytest.raises(UserError, match="a.wav: has 111 frames, expected 98; it changed"):
        read.mel(0)
