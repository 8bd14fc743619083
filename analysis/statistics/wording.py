"""How numbers, metrics and effects are worded, wherever they are printed; only CSV files hold raw numbers."""

from __future__ import annotations

from analysis.records.frame import Measure

NAMES = {
    "wer": "WER",
    "cer": "CER",
    "ser": "SER",
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrfpp": "chrF++",
    "f1": "F1",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "nmi": "NMI",
}


def metric(name: str) -> str:
    """A metric's name in words, e.g. "phone NMI" of "phone_nmi"."""
    return " ".join(NAMES.get(word, word) for word in name.split("_"))


def number(value: float, decimals: int, signed: bool = False) -> str:
    """A number with a true minus and, where `signed`, a plus; what rounds to 0 has no sign."""
    text = f"{value:+.{decimals}f}"
    if not float(text) or (text[0] == "+" and not signed):
        return text[1:]
    return text.replace("-", "−")


def interval(low: float, high: float, decimals: int, signed: bool = True) -> str:
    """Both ends in brackets."""
    return f"[{number(low, decimals, signed)}, {number(high, decimals, signed)}]"


def unit(what: Measure) -> str:
    """Unit of a difference, e.g. "points" or "nats": percentages differ by points; "" for a bare number."""
    return "points" if what.unit == "%" else what.unit


def units(what: Measure) -> str:
    """What a difference is counted in, e.g. "points of WER", "BLEU" or "nats"."""
    return f"points of {metric(what.metric)}" if what.unit == "%" else what.unit or metric(what.metric)


def effect(value: float, decimals: int, what: Measure) -> str:
    """An effect in the metric's good direction, its unit and what its sign means: "−1.6 points of WER, worse"."""
    text = number(value, decimals, signed=True)
    side = "" if not what.better or text[0] not in "+−" else ", better" if text[0] == "+" else ", worse"
    return f"{text} {units(what)}{side}"
