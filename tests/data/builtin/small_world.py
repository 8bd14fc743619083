"""A small built-in corpus, and its splits drawn."""

from ablate.data.builtin.corpus import BuiltinConfig

SMALL = BuiltinConfig(
    speech=60,
    text=40,
    pairs=30,
    asr=20,
    translation=20,
    sentiment=20,
    sentence_pair=20,
    normalization=20,
    dev=6,
    test=8,
    retrieval=10,
    text_dev=10,
    text_test=12,
)


def places(config):
    return [(table, split) for table, splits in config.tables().items() for split in splits]


def drawn(config, table, split):
    """Rows of one split, drawn alone."""
    return [entry.row_of(table) for own in config.split(table, split).config.samples for entry in own.entries()]
