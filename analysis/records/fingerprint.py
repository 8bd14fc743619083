"""Fingerprints of what something is made from: code, plan, and the stages of some kinds."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from analysis.records.frame import Records
from analysis.records.manifest import KINDS, stages


def fingerprint(records: Records, kinds: Collection[str] = KINDS) -> str:
    """Fingerprint of what is made from stages of these kinds: the code, the plan, the stages' results, and what
    unfinished ones logged. Stages that the sweep file adds count with the scores.
    """
    of_kind = _stages(records)
    kinds = [*kinds, *(sorted(of_kind.keys() - {*KINDS}) if "score" in kinds else ())]
    return named(records, "".join(f"{kind} {of_kind.get(kind)}\n" for kind in kinds))


def named(records: Records, text: str) -> str:
    """Fingerprint of what is made from a text: the text, the code, the plan, the metrics and their directions."""
    return hashlib.blake2b(_plan(records) + text.encode(), digest_size=16).hexdigest()


@functools.lru_cache(maxsize=1)
def _plan(records: Records) -> bytes:
    """Digest of the code, the plan, and the splits and metrics that are measured."""
    name = hashlib.blake2b(code().encode(), digest_size=16)
    for file in ("sweep.json", "manifest.jsonl"):
        name.update((records.folder / file).read_bytes())
    measures = records.scores[["task", "split", "metric", "better", "unit"]].drop_duplicates()
    name.update(measures.to_csv(index=False).encode())
    return name.digest()


@functools.cache
def code() -> str:
    """Digest of this package and of the versions of the libraries it draws and computes with."""
    package = Path(__file__).parents[1]
    name = hashlib.blake2b(digest_size=16)
    for path in sorted(path for pattern in ("*.py", "page.*", "*.csv") for path in package.rglob(pattern)):
        name.update(path.read_bytes())
    name.update(" ".join(version(library) for library in ("numpy", "pandas", "matplotlib", "scipy")).encode())
    return name.hexdigest()


@functools.lru_cache(maxsize=1)
def _stages(records: Records) -> dict[str, str]:
    """By kind, the digest of its stages' results and, for unfinished stages, of how much they have logged."""
    names: dict[str, hashlib.blake2b] = {}
    for kind, id in dict.fromkeys((kind, id) for line in records.manifest for kind, _, id in stages(line)):
        digest = records.results.digest(kind, id)
        if not digest:
            logs = records.files(kind, id) / "metrics.jsonl", records.path(kind, id) / "attempts.jsonl"
            digest = str([path.stat().st_size for path in logs if path.exists()])
        names.setdefault(kind, hashlib.blake2b(digest_size=16)).update(f"{id} {digest}\n".encode())
    return {kind: name.hexdigest() for kind, name in names.items()}
