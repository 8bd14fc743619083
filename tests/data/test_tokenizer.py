"""The tokenizer loses nothing, counts right, is deterministic, and says what it cannot do."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.data import tokenizer
from ablate.data.table import TableWriter, write_corpus
from ablate.data.tokenizer import Tokenizer, TokenizerConfig, Tokens
from ablate.errors import UserError

WORDS = "the a cat dog bird sat ran sang on in under house tree river and it was red green blue".split()
DRAW = random.Random(0)
SENTENCES = [" ".join(DRAW.choices(WORDS, k=DRAW.randint(3, 9))) for _ in range(400)]
ODD = [
    "", " ", "  ", " a", "a ", "a  b", "\t", "\n", "a\r\nb", "\x00", "$5.20 on 3/4/1999", "naïve café", "e\u0301",
    "ﬁ", "１２", "日本語", "🙂👩‍👩‍👧", "<cls>", "<s> </s>", "<0x41>", "<unk>", "\u200b\ufeff", "\u3000\xa0",
    "CAPS", "%&/()=?", "\U0010ffff",
]  # fmt: skip


class Run:
    """What a stage sees of its run folder."""

    def __init__(self, path: Path) -> None:
        self.path = self.files = path
        path.mkdir(parents=True, exist_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        (self.path / name).write_text(json.dumps(value), encoding="utf-8")

    def write_bytes(self, name: str, value: bytes) -> None:
        (self.path / name).write_bytes(value)

    def progress(self, step: int, steps: int, **fields: Any) -> None:
        assert 0 < step <= steps


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("corpus"))
    for split, sentences in (("train", SENTENCES), ("dev", ["the cat", ""])):
        with TableWriter(run.path, "text", split) as writer:
            for number, text in enumerate(sentences):
                writer.add({"id": str(number), "text": text})
    with TableWriter(run.path, "normalization", "train") as writer:
        for number in range(1, 200):
            texts = {"written": f"${number} in {1800 + number}", "spoken": "a lot long ago"}
            writer.add({"id": str(number), **texts, "label": "some"})
    write_corpus(run, {}, ("text.text", "normalization.written"))
    return run


def made(corpus: Run, path: Path, **fields: Any) -> tuple[Run, dict[str, Any]]:
    run = Run(path)
    return run, tokenizer.run(TokenizerConfig(**fields), {"corpus": corpus}, run)


@pytest.fixture(scope="module")
def trained(corpus: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(corpus, tmp_path_factory.mktemp("tokenizer"), size=80)[0]


def test_ids_are_specials_then_bytes_then_pieces(trained: Run) -> None:
    facts = json.loads((trained.path / "vocabulary.json").read_text(encoding="utf-8"))
    assert facts["pieces"][:7] == ["<pad>", "<unk>", "<s>", "</s>", "<cls>", "<sep>", "<mask>"]
    assert facts["pieces"][7:263] == [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = Tokenizer(trained.path).vocabulary
    assert vocabulary.size == 80 + 256 == len(vocabulary.counts_V) == len(vocabulary.starts_word_V)


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_odd_strings_come_back(trained: Run, text: str) -> None:
    tokens = Tokenizer(trained.path)
    ids = tokens.encode(text)
    assert tokens.decode(ids) == text
    assert all(7 <= i < tokens.vocabulary.size for i in ids), "a special or unknown in plain text"


@pytest.mark.parametrize("model", tokenizer.MODELS)
def test_any_string_comes_back(corpus: Run, tmp_path: Path, model: str) -> None:
    tokens = Tokenizer(made(corpus, tmp_path, size=60, model=model)[0].path)
    draw = random.Random(1)
    ranges = [(0, 0x80), (0x80, 0x2000), (0x2000, 0xD800), (0xE000, 0x110000)]
    for _ in range(500):
        letters = [chr(draw.randrange(*draw.choice(ranges))) for _ in range(draw.randrange(12))]
        text = " ".join(["".join(letters), draw.choice(SENTENCES), draw.choice(ODD)]).replace(tokenizer.SPACE, "")
        assert tokens.decode(tokens.encode(text)) == text


def test_specials_are_dropped_on_decoding(trained: Run) -> None:
    tokens = Tokenizer(trained.path)
    assert tokens.decode([4, *tokens.encode("the cat"), 5, 3, 0]) == "the cat"
    assert tokens.decode(np.array(tokens.encode("a dog"), np.int32)) == "a dog"


def test_counts_are_those_of_the_training_text(trained: Run, corpus: Run) -> None:
    tokens = Tokenizer(trained.path)
    texts = SENTENCES + [f"${n} in {1800 + n}" for n in range(1, 200)]
    expected = np.zeros(tokens.vocabulary.size, int)
    for text in texts:
        np.add.at(expected, tokens.encode(text), 1)
    assert tokens.vocabulary.counts_V == tuple(expected)
    # One piece that begins a word for every word.
    begins = np.array(tokens.vocabulary.starts_word_V)
    assert expected[begins].sum() == sum(len(text.split()) for text in texts)


def test_every_text_field_is_encoded(trained: Run) -> None:
    names = {path.name for path in (trained.path / "tokens").iterdir()}
    fields = ("text.train.text", "text.dev.text", "normalization.train.written", "normalization.train.spoken")
    assert names == {f"{name}.{suffix}" for name in fields for suffix in ("i32", "i64")}
    tokens, texts = Tokenizer(trained.path), Tokens(trained.path, "text", "train", "text")
    assert len(texts) == len(SENTENCES) and texts[0].dtype == np.int32
    assert all(texts[i].tolist() == tokens.encode(SENTENCES[i]) for i in range(len(texts)))
    assert texts.lengths.tolist() == [len(texts[i]) for i in range(len(texts))]
    assert Tokens(trained.path, "text", "dev", "text").lengths[1] == 0
    with pytest.raises(UserError, match="text.test.text.*did you mean 'text.dev.text'"):
        Tokens(trained.path, "text", "test", "text")


def test_only_what_is_asked_for_is_encoded(corpus: Run, tmp_path: Path) -> None:
    run, result = made(corpus, tmp_path, fields=("text.text",), encode=("normalization.spoken",), size=60)
    assert list(result["encoded"]) == ["normalization.train.spoken"]
    with pytest.raises(UserError, match="tokenizer.encode has 'text.txt'.*did you mean 'text.text'"):
        made(corpus, tmp_path / "other", encode=("text.txt",))


def test_without_bytes_nothing_is_dropped_but_what_was_never_seen(corpus: Run, tmp_path: Path) -> None:
    run, result = made(corpus, tmp_path, fields=("text.text",), model="char", bytes=False)
    letters = set("".join(SENTENCES)) - {" "}
    assert result["size"] == 7 + len(letters) + 1 and result["asked"] == 400
    assert result["encoded"]["text.train.text"]["unknown"] == 0
    assert result["encoded"]["normalization.train.written"]["unknown"] > 0
    assert Tokenizer(run.path).decode(Tokenizer(run.path).encode("the $ cat")) == "the  \u2047  cat"


@pytest.mark.parametrize("model", tokenizer.MODELS)
def test_little_text_makes_a_smaller_vocabulary(corpus: Run, tmp_path: Path, model: str) -> None:
    run, result = made(corpus, tmp_path, size=20_000, model=model)
    assert result["size"] == Tokenizer(run.path).vocabulary.size < 2_000 and result["asked"] == 20_000


@pytest.mark.parametrize("model", tokenizer.MODELS)
def test_training_is_deterministic(model: str) -> None:
    config = TokenizerConfig(size=70, model=model)
    first, second = (hashlib.sha256(tokenizer.train(SENTENCES, config)).hexdigest() for _ in range(2))
    assert first == second


def test_texts_to_learn_from_are_spread_evenly() -> None:
    texts = [str(i) for i in range(10)]
    assert list(tokenizer.spread(texts, 10, 20)) == texts
    assert list(tokenizer.spread(texts, 10, 5)) == ["1", "3", "5", "7", "9"]
    assert len(list(tokenizer.spread(texts, 10, 3))) == 3


def test_tokens_stay_on_disk(trained: Run) -> None:
    texts = Tokens(trained.path, "text", "train", "text")
    assert isinstance(texts.ids, np.memmap) and isinstance(texts.offsets, np.memmap)


def test_faults(corpus: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'unigram'"):
        TokenizerConfig(model="unigramm")
    with pytest.raises(UserError, match="tokenizer.size is 7"):
        TokenizerConfig(size=7)
    with pytest.raises(UserError, match=r"tokenizer.size is 10, expected at least \d\d"):
        made(corpus, tmp_path / "small", size=10)
    with pytest.raises(UserError, match="did you mean 'text.text'"):
        made(corpus, tmp_path / "field", fields=("text.txt",))
    with pytest.raises(UserError, match="no 'texts.train'.*did you mean 'text.train'"):
        made(corpus, tmp_path / "table", fields=("texts.text",))
