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
from ablate.data.table import Table, TableWriter
from ablate.data.tokenizer import Tokenizer, TokenizerConfig, Tokens
from ablate.errors import UserError
from ablate.sweepfile.typed import typed

WORDS = "the a cat dog bird sat ran sang on in under house tree river and it was red green blue".split()
DRAW = random.Random(0)
SENTENCES = [" ".join(DRAW.choices(WORDS, k=DRAW.randint(3, 9))) for _ in range(400)]
ODD = [
    "",
    " ",
    "  ",
    " a",
    "a ",
    "a  b",
    "\t",
    "\n",
    "a\r\nb",
    "\x00",
    "$5.20 on 3/4/1999",
    "naïve café",
    "e\u0301",
    "ﬁ",
    "１２",
    "日本語",
    "🙂👩‍👩‍👧",
    "<cls>",
    "<s> </s>",
    "<0x41>",
    "<unk>",
    "\u200b\ufeff",
    "\u3000\xa0",
    "CAPS",
    "%&/()=?",
    "\U0010ffff",
]


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
        assert 0 <= step <= steps


Tables = dict[str, Table]
FIELDS = ("text.text", "normalization.written")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Train splits by table, and a dev split."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, sentences in (("text", SENTENCES), ("dev", ["the cat", ""])):
        with TableWriter(folder / split) as writer:
            for number, text in enumerate(sentences):
                writer.add({"id": str(number), "text": text})
    with TableWriter(folder / "normalization") as writer:
        for number in range(1, 200):
            texts = {"written": f"${number} in {1800 + number}", "spoken": "a lot long ago"}
            writer.add({"id": str(number), **texts, "label": "some"})
    return {name: Table(folder / name, name) for name in ("text", "normalization", "dev")}


def made(corpus: Tables, path: Path, fields: tuple[str, ...] = FIELDS, **others: Any) -> tuple[Run, dict[str, Any]]:
    run = Run(path)
    return run, tokenizer.learn(TokenizerConfig(fields=fields, **others), corpus, run)


def encoded(trained: Run, table: Table, path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a table's ids, and the result of making it."""
    run = Run(path)
    return path, tokenizer.encode(Tokenizer(trained.path), table, run)["encoded"]


@pytest.fixture(scope="module")
def trained(corpus: Tables, tmp_path_factory: pytest.TempPathFactory) -> Run:
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
def test_any_string_comes_back(corpus: Tables, tmp_path: Path, model: str) -> None:
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


def test_counts_are_those_of_the_training_text(trained: Run, corpus: Tables) -> None:
    tokens = Tokenizer(trained.path)
    texts = SENTENCES + [f"${n} in {1800 + n}" for n in range(1, 200)]
    expected = np.zeros(tokens.vocabulary.size, int)
    for text in texts:
        np.add.at(expected, tokens.encode(text), 1)
    assert tokens.vocabulary.counts_V == tuple(expected)
    # One piece that begins a word for every word.
    begins = np.array(tokens.vocabulary.starts_word_V)
    assert expected[begins].sum() == sum(len(text.split()) for text in texts)


def test_every_text_field_of_a_split_is_encoded(trained: Run, corpus: Tables, tmp_path: Path) -> None:
    folder, result = encoded(trained, corpus["normalization"], tmp_path / "normalization")
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{suffix}" for name in result for suffix in ("i32", "i64")
    }
    assert list(result) == ["written", "spoken"] and result["spoken"]["texts"] == 199
    folder, _ = encoded(trained, corpus["text"], tmp_path / "text")
    tokens, texts = Tokenizer(trained.path), Tokens(folder, "text")
    assert len(texts) == len(SENTENCES) and texts[0].dtype == np.int32
    assert all(texts[i].tolist() == tokens.encode(SENTENCES[i]) for i in range(len(texts)))
    assert texts.lengths.tolist() == [len(texts[i]) for i in range(len(texts))]
    assert Tokens(encoded(trained, corpus["dev"], tmp_path / "dev")[0], "text").lengths[1] == 0
    with pytest.raises(UserError, match="no text 'txt' as ids: did you mean 'text'"):
        Tokens(folder, "txt")


def test_it_learns_from_the_texts_of_pre_training_and_an_alphabet_unless_it_names_fields(
    corpus: Tables, tmp_path: Path
) -> None:
    plain = TokenizerConfig(size=80, bytes=False).settled(("speech", "text", "pairs", "glue"))
    assert plain.fields == ("text.text", "pairs.text") and plain.alphabet == tokenizer.ALPHABET
    assert TokenizerConfig().settled(("speech", "digits")).fields == ()
    named = TokenizerConfig(fields=("text.text",)).settled(("text", "pairs"))
    assert (named.fields, named.alphabet) == (("text.text",), "")
    assert TokenizerConfig(fields=("text.text",), alphabet="$").settled(()).alphabet == "$"
    run, result = made(corpus, tmp_path / "some", ("text.text",), alphabet="$\u00df", model="char", bytes=False)
    pieces = json.loads((run.path / "vocabulary.json").read_text())["pieces"]
    assert {"$", "\u00df"} <= set(pieces) and result["texts"] == len(SENTENCES)
    run, result = made(corpus, tmp_path / "none", (), alphabet="ab", bytes=False)
    assert Tokenizer(run.path).decode(Tokenizer(run.path).encode("ba ab")) == "ba ab" and result["texts"] == 0


def test_without_bytes_nothing_is_dropped_but_what_was_never_seen(corpus: Tables, tmp_path: Path) -> None:
    run, result = made(corpus, tmp_path / "chars", ("text.text",), model="char", bytes=False)
    letters = set("".join(SENTENCES)) - {" "}
    assert result["size"] == 7 + len(letters) + 1 and result["asked"] == 400
    assert encoded(run, corpus["text"], tmp_path / "text")[1]["text"]["unknown"] == 0
    assert encoded(run, corpus["normalization"], tmp_path / "written")[1]["written"]["unknown"] > 0
    assert Tokenizer(run.path).decode(Tokenizer(run.path).encode("the $ cat")) == "the  \u2047  cat"


@pytest.mark.parametrize("model", tokenizer.MODELS)
def test_little_text_makes_a_smaller_vocabulary(corpus: Tables, tmp_path: Path, model: str) -> None:
    run, result = made(corpus, tmp_path, size=20_000, model=model)
    assert result["size"] == Tokenizer(run.path).vocabulary.size < 2_000 and result["asked"] == 20_000


@pytest.mark.parametrize("model", tokenizer.MODELS)
def test_training_is_deterministic(model: str) -> None:
    config = TokenizerConfig(size=70, model=model)
    first, second = (hashlib.sha256(tokenizer.train(SENTENCES, config)).hexdigest() for _ in range(2))
    assert first == second


def test_texts_to_learn_from_do_not_depend_on_their_order() -> None:
    texts = [str(i) for i in range(1000)] + ["7", "7"]
    shuffled = random.Random(0).sample(texts, len(texts))
    assert tokenizer.lowest(texts, 20) == tokenizer.lowest(shuffled, 20) == tokenizer.lowest(texts, 5000)[:20]
    assert sorted(tokenizer.lowest(shuffled, 5000)) == sorted(texts)
    assert 350 < sum(int(text) < 500 for text in tokenizer.lowest(texts, 800)) < 450  # spread over all there are


def test_tokens_stay_on_disk(trained: Run, corpus: Tables, tmp_path: Path) -> None:
    texts = Tokens(encoded(trained, corpus["text"], tmp_path)[0], "text")
    assert isinstance(texts.ids, np.memmap) and isinstance(texts.offsets, np.memmap)


def test_faults(corpus: Tables, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model is 'unigramm': did you mean 'unigram'"):
        TokenizerConfig(model="unigramm")
    with pytest.raises(UserError, match="tokenizer.size: expected a whole number from 8, found 7"):
        typed(TokenizerConfig(), {"size": 7}, "tokenizer")
    with pytest.raises(UserError, match=r"tokenizer.size is 10, expected at least \d\d"):
        made(corpus, tmp_path / "small", size=10)
    with pytest.raises(UserError, match="did you mean 'text.text'"):
        made(corpus, tmp_path / "field", fields=("text.txt",))
    with pytest.raises(UserError, match="nothing to learn from"):
        made(corpus, tmp_path / "nothing", ())
