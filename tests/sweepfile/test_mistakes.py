"""Mistakes in a sweep file, made by hand: each is answered with one sentence, and where it is written."""

import pytest

from ablate.errors import UserError
from ablate.planning.plan import plan_file

FILE = """\
name: small
question: Does text help speech?
seeds: [0, 1]
data:
  preset: builtin
  pairs: 100
base:
  encoder: nano
  tokenizer: {size: 400}
  pretrain:
    objectives: {contrastive: 1.0, masked_speech: 1.0, masked_text: 1.0}
    steps: 100
    decay: 20
    update: {speech: 20 s, text: 700 tokens, pairs: 6}
    optimizer: {lr: 2e-3, clip: 5.0}
  tasks:
    asr: {steps: 50}
    sentiment: {steps: 50}
rows:
  speech_only: {encoder: {reads: [speech]}, pretrain: {objectives: {masked_text: null}}}
  joint: {}
  longer: {after: joint, pretrain: {steps: 50}}
axes:
  pretrain.optimizer.warmup: [10, 20]
claims:
  text_helps: {effect: joint - speech_only, on: asr.wer, above: 0}
labels: {joint: speech and text}
table:
  columns: [asr.test.wer, sentiment.accuracy]
  blocks: [{title: All, reference: joint, rows: [speech_only, joint]}]
resources: {mem_gb: 8, pretrain: {gpus: 1}}
"""

# An edit, OLD → NEW, or overrides after $, with & between them; below it the sentence, for edits after "FILE, ".
TABLE = r"""
question: Does → qestion: Does
    line 2, column 1: qestion: unknown key 'qestion'; did you mean 'question'?
name: small → name: a/b
    line 1, column 1: name: 'a/b' becomes a folder; use letters, digits, _, - and dots.
seeds: [0, 1] → seeds: [0, one]
    line 3, column 12: seeds[1]: expected a whole number from 0, found 'one'.
seeds: [0, 1] → seeds: [0, 0]
    line 3, column 1: seeds: '0' is there twice; remove one.
seeds: [0, 1] → seeds: 3
    line 3, column 1: seeds: expected a list, found 3; write [3].
seeds: [0, 1] → seeds: []
    line 3, column 1: seeds: expected a list of whole numbers, found []; write seeds: [0, 1, 2].
preset: builtin → preset: bultin
    line 4, column 1: data: no preset 'bultin'; did you mean 'builtin'?
preset: builtin → preset: [builtin]
    line 4, column 1: data: no preset ['builtin']; did you mean 'builtin'?
pairs: 100 → pairs: 0
    line 6, column 3: data.pairs: expected a whole number from 1, found 0.
pairs: 100 → coverage: 1.5
    line 6, column 3: data.coverage: expected a number from 0.2 to 1, found 1.5.
pairs: 100 → asr_pairs: yes
    line 6, column 3: data.asr_pairs: expected true or false, found 'yes'; write true.
pairs: 100 → 1: 100
    line 6, column 3: data.1: expected text as a key, found 1; write '1', in quotes.
pairs: 100 → pairs: 100\n  pairs: 200
    line 7, column 3: this is not valid YAML: found duplicate key pairs; remove one of the two.
data:\n  preset: builtin\n  pairs: 100 → data: [builtin]
    line 4, column 1: data: expected a mapping, found ['builtin']; write data: {key: value}.
encoder: nano → encodr: nano
    line 8, column 3: base.encodr: unknown key 'encodr'; did you mean 'encoder'?
encoder: nano → encoder: nanno
    line 8, column 3: base.encoder: no preset 'nanno'; did you mean 'nano'?
encoder: nano → encoder: {heads: 0}
    line 8, column 13: base.encoder.heads: expected a whole number from 1, found 0.
encoder: nano → encoder: {heads: 5}
    line 8, column 3: base.encoder: Encoder width 64 is not divisible by heads 5. Choose heads that divide the width.
encoder: nano → encoder: {dropout: 1.5}
    line 8, column 13: base.encoder.dropout: expected a number from 0 to 1, found 1.5.
encoder: nano → encoder: {dropout: 0,1}
    line 8, column 24: base.encoder.1: expected text as a key, found 1; write '1', in quotes.
encoder: nano → encoder: {reads: speech}
    line 8, column 13: base.encoder.reads: expected a list, found 'speech'; write [speech].
encoder: nano → encoder: {reads: [speech, video]}
    line 8, column 29: base.encoder.reads[1]: expected one of speech, text, pair, found 'video'.
encoder: nano → encoder: {segment_embedding: on}
    line 8, column 13: base.encoder.segment_embedding: expected true or false, found 'on'; write true.
encoder: nano → encoder: {block: true}
    line 8, column 13: base.encoder.block: expected one of conformer, transformer, found true.
{size: 400} → {size: 5}
    line 9, column 15: base.tokenizer.size: expected a whole number from 8, found 5.
{size: 400} → {bytes: No}
    line 9, column 15: base.tokenizer.bytes: expected true or false, found 'No'; write false.
{size: 400} → 400
    line 9, column 3: base.tokenizer: expected a mapping, found 400; write tokenizer: {key: value}.
contrastive: 1.0 → contrastve: 1.0
    line 11, column 18: base.pretrain.objectives.contrastve: no preset 'contrastve'; did you mean 'contrastive'?
contrastive: 1.0 → contrastive: .inf
    line 11, column 18: base.pretrain.objectives.contrastive.weight: expected a number from 0, found inf; it has to be
    finite.
contrastive: 1.0 → contrastive: -1
    line 11, column 18: base.pretrain.objectives.contrastive.weight: expected a number from 0, found -1.
contrastive: 1.0 → contrastive: {weight: .nan}
    line 11, column 32: base.pretrain.objectives.contrastive.weight: expected a number from 0, found nan; it has to be
    finite.
contrastive: 1.0 → contrastive: {prob: 0}
    line 11, column 32: base.pretrain.objectives.contrastive.prob: expected a number above 0 and up to 1, found 0.
contrastive: 1.0 → contrastive: {negatives: 0}
    line 11, column 32: base.pretrain.objectives.contrastive.negatives: expected a whole number from 1, found 0.
contrastive: 1.0 → contrastive: {at: jiont}
    line 11, column 32: base.pretrain.objectives.contrastive.at: expected one of speech_tower, joint, found 'jiont'; did
    you mean 'joint'?
masked_text: 1.0} → masked_text: {text: true, share: 2}}
    line 11, column 70: base.pretrain.objectives.masked_text.text: expected one of true, drawn, renamed, found true;
    write 'true', in quotes.
steps: 100 → steps: -1
    line 12, column 5: base.pretrain.steps: expected a whole number from 0, found -1.
steps: 100 → steps: 1e3
    line 12, column 5: base.pretrain.steps: expected a whole number from 0, found 1000.0; write 1000.
steps: 100 → steps: 100#trunk
    line 12, column 5: base.pretrain.steps: expected a whole number from 0, found '100#trunk'; a comment needs a space
    before its #.
steps: 100 → stps: 100
    line 12, column 5: base.pretrain.stps: unknown key 'stps'; did you mean 'steps'?
steps: 100 → steps: 100\n    steps: 200
    line 13, column 5: this is not valid YAML: found duplicate key steps; remove one of the two.
masked_text: 1.0}\n    steps: 100 → masked_text: 1.0}
    line 19, column 45: rows.speech_only.pretrain.steps: must be given; write base: {pretrain: {steps: 1000}}.
steps: 100 → steps: ???
    line 12, column 5: base.pretrain.steps: must be given; write base.pretrain.steps=VALUE, or steps: VALUE in the
    file.
steps: 100 → steps:
    line 12, column 5: base.pretrain.steps: expected a whole number from 0, found null.
steps: 100 → steps: 100\n    weights: mslm
    line 13, column 5: base.pretrain.weights: no preset 'mslm'; did you mean 'mslam'?
steps: 100 → steps: 100\n    targets: {learned: {hot: 0.05}}
    line 13, column 15: base.pretrain.targets.learned: Gumbel temperatures fall from 0.05 to 0.1; expected 0 < cold <=
    hot.
masked_text: 1.0}\n    steps: 100 → masked_text: 1.0}\n\tsteps: 100
    line 12, column 1: found a tab; write spaces.
speech: 20 s → speech: 20 tokens
    line 14, column 14: base.pretrain.update.speech: found '20 tokens', expected a number of seconds, as in 12 s.
speech: 20 s → speech: 0 s
    line 14, column 14: base.pretrain.update.speech: expected a number above 0, found 0.
speech: 20 s → spech: 20 s
    line 14, column 14: base.pretrain.update.spech: unknown key 'spech'; did you mean 'speech'?
speech: 20 s → speech: 20 s, shards: 0
    line 14, column 28: base.pretrain.update.shards: expected a whole number from 1, found 0.
lr: 2e-3 → lr: .inf
    line 15, column 17: base.pretrain.optimizer.lr: expected a number above 0, found inf; it has to be finite.
lr: 2e-3 → lr: 2e-3#high
    line 15, column 17: base.pretrain.optimizer.lr: expected a number above 0, found '2e-3#high'; a comment needs a
    space before its #.
lr: 2e-3 → lr: fast
    line 15, column 17: base.pretrain.optimizer.lr: expected a number above 0, found 'fast'.
clip: 5.0 → clp: 5.0
    line 15, column 27: base.pretrain.optimizer.clp: unknown key 'clp'; did you mean 'clip'?
asr: {steps: 50} → asr: {stpes: 50}
    line 17, column 11: base.tasks.asr.stpes: unknown key 'stpes'; did you mean 'steps'?
asr: {steps: 50} → asr: {ctc: {dropout: 2}}
    line 17, column 17: base.tasks.asr.ctc.dropout: expected a number from 0 to 1, found 2.
asr: {steps: 50} → asr: {tune: {lr: 1e-3}}
    line 17, column 18: base.tasks.asr.tune.lr: expected a list of values to try, found 0.001; write lr: [1, 2].
asr: {steps: 50} → asr: {tune: {lr: [1e-3, .inf]}}
    line 17, column 18: base.tasks.asr.tune.lr: expected a number from 0, found inf; it has to be finite.
asr: {steps: 50} → asr: {perturbation: {speeds: [0.9, 10]}}
    line 17, column 40: base.tasks.asr.perturbation.speeds[1]: expected a number from 0.2 to 5, found 10.
asr: {steps: 50} → asrr: {steps: 50}
    line 17, column 5: base.tasks.asrr: no task 'asrr'; did you mean 'asr'?
sentiment: {steps: 50} → sentiment: 50
    line 18, column 5: base.tasks.sentiment: expected a mapping, found 50; write sentiment: {key: value}.
sentiment: {steps: 50} → sentiment: {steps: 50}\n  stages: {x: {}}
    line 19, column 12: rows.speech_only.stages.x.kind: no kind 'x'; valid: none.
sentiment: {steps: 50} → sentiment: {steps: 50}\n  stages: {x: {after: [pretrain, pretrain]}}
    line 19, column 16: rows.speech_only.stages.x.after: 'pretrain' is there twice; remove one.
joint: {} → 1: {}
    line 21, column 3: rows.1: expected text as a key, found 1; write '1', in quotes.
joint: {} → null: {}
    line 21, column 3: rows.null: expected text as a key, found null; write 'null', in quotes.
joint: {} → jo-int: {}
    line 21, column 3: rows.jo-int: expected a name of letters, digits and _; claims compute with it.
joint: {} → joint: nano
    line 21, column 3: rows.joint: expected a mapping, found 'nano'; write joint: {key: value}.
joint: {} → joint: {after: longer}
    line 21, column 3: rows.joint: joint after longer after joint is a cycle; let one of them start from scratch.
joint: {} → joint: {encoder: {reads: [text]}}
    line 21, column 3: rows.joint: objective 'contrastive' reads speech, but the encoder reads text; remove it with
    pretrain: {objectives: {contrastive: null}}, or let the encoder read speech.
after: joint → aftr: joint
    line 22, column 12: rows.longer.aftr: unknown key 'aftr'; did you mean 'after'?
after: joint → after: jiont
    line 22, column 12: rows.longer.after: no row 'jiont'; did you mean 'joint'?
after: joint → after: [joint]
    line 22, column 12: rows.longer.after: expected text, found ['joint'].
after: joint → after: joint, encoder: nano
    line 22, column 26: rows.longer.encoder: a row keeps the encoder of the row it comes after; remove it.
objectives: {masked_text: null} → objectives: {tlm: null}
    line 20, column 69: rows.speech_only.pretrain.objectives.tlm: null removes it, but there is no 'tlm' here; valid:
    contrastive, masked_speech, masked_text.
[10, 20] → 10
    line 24, column 3: axes.pretrain.optimizer.warmup: expected a list, found 10; write [a, b].
[10, 20] → [10, fast]
    line 24, column 3: axes.pretrain.optimizer.warmup: expected a whole number from 0, found 'fast'.
[10, 20] → [10, 10]
    line 24, column 3: axes.pretrain.optimizer.warmup: '10' is there twice; remove one.
[10, 20] → []
    line 24, column 3: axes.pretrain.optimizer.warmup: expected at least one value, found none.
[10, 20] → [10, -1]
    line 24, column 3: axes.pretrain.optimizer.warmup: expected a whole number from 0, found -1.
pretrain.optimizer.warmup: → pretrain.optimiser.warmup:
    line 24, column 3: axes.pretrain.optimiser.warmup: unknown key 'optimiser'; did you mean 'optimizer'?
pretrain.optimizer.warmup: → base.pretrain.optimizer.warmup:
    line 24, column 3: axes.base.pretrain.optimizer.warmup: expected the path of a setting within base;
    write pretrain.optimizer.warmup.
pretrain.optimizer.warmup: [10, 20] → size: {small: {encoder: {width: 0}}}
    line 24, column 28: axes.size.small.encoder.width: expected a whole number from 1, found 0.
pretrain.optimizer.warmup: [10, 20] → size: {8: {encoder: {width: 8}}}
    line 24, column 10: axes.size.8: expected text as a key, found 8; write '8', in quotes.
axes: → axis:
    line 23, column 1: axis: unknown key 'axis'; did you mean 'axes'?
effect: joint → efect: joint
    line 26, column 16: claims.text_helps.efect: unknown key 'efect'; did you mean 'effect'?
effect: joint - speech_only → effect: joint - speach_only
    line 26, column 16: claims.text_helps.effect: no row 'speach_only'; did you mean 'speech_only'?
effect: joint - speech_only → effect: joint + speech_only
    line 26, column 16: claims.text_helps.effect: 'joint + speech_only' is not a difference; the rows' factors must
    sum to zero.
on: asr.wer, above → above
    line 26, column 3: claims.text_helps: 'on' is missing; write {effect: a - b, on: asr.wer, above: 0}.
above: 0 → above: zero
    line 26, column 58: claims.text_helps.above: expected a number, found 'zero'.
above: 0 → above: .inf
    line 26, column 58: claims.text_helps.above: expected a number, found inf; it has to be finite.
above: 0 → within: 0
    line 26, column 58: claims.text_helps.within: expected a number above 0, found 0.
above: 0 → above: 0, below: 1
    line 26, column 3: claims.text_helps: expected exactly one of above, below and within; e.g. above: 0.
above: 0 → above: 0, margin: -1
    line 26, column 68: claims.text_helps.margin: expected a number from 0, found -1.
above: 0 → above: 0, unmatched: yes
    line 26, column 68: claims.text_helps.unmatched: expected true or false, found 'yes'; write true.
above: 0 → above: 0, split: tst
    line 26, column 68: claims.text_helps.split: task 'asr' is not scored on 'tst'; did you mean 'test'?
above: 0 → above: 0, assay: joint - jiont
    line 26, column 68: claims.text_helps.assay: no row 'jiont'; did you mean 'joint'?
labels: {joint: → labels: {jiont:
    line 27, column 10: labels.jiont: no row or task 'jiont'; did you mean 'joint'?
speech and text} → true}
    line 27, column 10: labels.joint: expected text, found true; write 'true', in quotes.
speech and text} → [a]}
    line 27, column 10: labels.joint: expected text, found ['a'].
columns: [asr.test.wer, → columns: [asr.test.wer, asr.test.wer,
    line 29, column 3: table.columns: 'asr.test.wer' is there twice; remove one.
columns: → colums:
    line 29, column 3: table.colums: unknown key 'colums'; did you mean 'columns'?
columns: [asr.test.wer, sentiment.accuracy] → columns: asr.test.wer
    line 29, column 3: table.columns: expected a list, found 'asr.test.wer'; write [asr.test.wer].
title: All → titel: All
    line 30, column 13: table.blocks[0].titel: unknown key 'titel'; did you mean 'title'?
reference: joint → reference: jiont
    line 30, column 25: table.blocks[0].reference: no row 'jiont'; did you mean 'joint'?
rows: [speech_only, joint]}] → rows: [speech_only, speech_only]}]
    line 30, column 43: table.blocks[0].rows: 'speech_only' is there twice; remove one.
rows: [speech_only, joint]}] → rows: [speech_only, joint]}]\n  compare_with: jiont
    line 31, column 3: table.compare_with: no row 'jiont'; did you mean 'joint'?
rows: [speech_only, joint]}] → rows: [speech_only, joint]}]\n  interference: {speach: {single: joint}}
    line 31, column 18: table.interference.speach: unknown key 'speach'; did you mean 'speech'?
rows: [speech_only, joint]}] → rows: [speech_only, joint]}]\n  interference: {speech: {single: jiont}}
    line 31, column 27: table.interference.speech.single: no row 'jiont'; did you mean 'joint'?
rows: [speech_only, joint]}] → rows: [speech_only, joint]}]\n  interference: {speech: joint}
    line 31, column 18: table.interference.speech: expected a mapping, found 'joint'; write speech: {key: value}.
rows: [speech_only, joint]}] → rows: [speech_only, joint]}]\n  frontier: {x: asr.wer}
    line 31, column 3: table.frontier: 'y' is missing; expected text.
rows: [speech_only, joint]}] → rows: [speech_only, joint]}]\n  frontier: {x: asr.wer, y: asr.wre}
    line 31, column 26: table.frontier.y: task 'asr' has no metric 'wre'; did you mean 'wer'?
rows: [speech_only, joint]}] → rows: [speech_only, joint]}, {title: x}, {title: x}]
    line 30, column 84: table.blocks[2]: an equal block is there already; remove one.
mem_gb: 8 → mem_bg: 8
    line 31, column 13: resources.mem_bg: unknown resource 'mem_bg'; did you mean 'mem_gb'?
mem_gb: 8 → mem_gb: much
    line 31, column 13: resources.mem_gb: found 'much', expected memory in GB, as in 40, 40G or 512M.
gpus: 1} → gpus: 1, poll_s: 3}
    line 31, column 44: resources.pretrain.poll_s: it is set for the whole sweep; write resources.poll_s.
pretrain: {gpus: 1} → pretrain: 1
    line 31, column 24: resources.pretrain: found 1, expected a mapping, as in {mem_gb: 40}.
seeds: [0, 1] → seeds: [0, 1]\nplugins: my_lab
    line 4, column 1: plugins: expected a list, found 'my_lab'; write [my_lab].
seeds: [0, 1] → seeds: [0, 1]\nworkers: 0
    line 4, column 1: workers: expected a whole number from 1, found 0.
seeds: [0, 1] → seeds: [0, 1]\nworkers: two
    line 4, column 1: workers: expected a whole number from 1, found 'two'.
seeds: [0, 1] → seeds: [0, 1]\ntasks: [asr, asr]
    line 4, column 1: tasks: 'asr' is there twice; remove one.
seeds: [0, 1] → seeds: [0, 1]\ntasks: [arsr]
    line 4, column 1: tasks: no task 'arsr'; did you mean 'asr'?
seeds: [0, 1] → seeds: [0, 1]\nencoder: nano
    line 4, column 1: encoder: unknown key 'encoder'; did you mean 'base.encoder'?
seeds: [0, 1] → seeds: [0, 1]\nroot: [a]
    line 4, column 1: root: expected text, found ['a'].
[10, 20] → [10, 20]\n  encoder: [nano, nanno]
    line 25, column 3: axes.encoder: no preset 'nanno'; did you mean 'nano'?
[10, 20] → [10, 20]\n  data.pairs: [10, 0]
    line 25, column 3: axes.data.pairs: expected a whole number from 1, found 0.
[10, 20] → [10, 20]\n  size: {small: {encoder: {heads: 5}}}
    line 25, column 18: axes.size.small.encoder: Encoder width 64 is not divisible by heads 5. Choose heads that
    divide the width.
$ base.encoder.width=glob(*)
    Override 'base.encoder.width=glob(*)': a sweep needs values one by one; write key=1,2 or key=range(1,4).
$ base.encoder.width=[glob(*)]
    Override 'base.encoder.width=[glob(*)]': a list or mapping cannot hold a choice; write a value.
$ base.pretrain.optimizer.lr=inf
    override 'base.pretrain.optimizer.lr=inf': base.pretrain.optimizer.lr: expected a number above 0, found inf; it
    has to be finite.
$ base.pretrain.optimizer.lr=nan
    override 'base.pretrain.optimizer.lr=nan': base.pretrain.optimizer.lr: expected a number above 0, found nan; it
    has to be finite.
$ base.pretrain.steps=-1
    override 'base.pretrain.steps=-1': base.pretrain.steps: expected a whole number from 0, found -1.
$ rows.joint={1: 2}
    override 'rows.joint={1: 2}': rows.joint.1: expected text as a key, found 1; write '1', in quotes.
$ base.encoder.segment_embedding=yes
    override 'base.encoder.segment_embedding=yes': base.encoder.segment_embedding: expected true or false, found
    'yes'; write true.
$ base.encodr.width=3
    override 'base.encodr.width=3': base.encodr: unknown key 'encodr'; did you mean 'encoder'?
$ ~rows.jiont
    Override '~rows.jiont': there is no 'jiont' to remove; did you mean 'joint'?
$ base.encoder.width=1,0
    override 'base.encoder.width=1,0': base.encoder: Encoder width 1 is not divisible by heads 4. Choose heads that
    divide the width (at encoder.width=1).
$ base.pretrain.objectives.tlm={negatives: 0}
    override 'base.pretrain.objectives.tlm={negatives: 0}': base.pretrain.objectives.tlm.negatives: expected a whole
    number from 1, found 0.
$ seeds=0
    override 'seeds=0': seeds: expected a list, found 0; write [0].
$ rows.joint.after=longer
    override 'rows.joint.after=longer': rows.joint: joint after longer after joint is a cycle; let one of them start
    from scratch.
$ claims.text_helps.above=inf
    override 'claims.text_helps.above=inf': claims.text_helps.above: expected a number, found inf; it has to be
    finite.
$ base.pretrain.update.speech=inf
    override 'base.pretrain.update.speech=inf': base.pretrain.update.speech: expected a number above 0, found inf; it
    has to be finite.
update: {speech: 20 s, → weights: [unit]\n    update: {speech: 20 s,
    line 14, column 5: base.pretrain.weights: expected text, found ['unit'].
speech: 20 s → speech: 0.0.1 s
    line 14, column 14: base.pretrain.update.speech: found '0.0.1 s', expected a number of seconds, as in 12 s.
effect: joint - speech_only → effect: joint - joint
    line 26, column 16: claims.text_helps.effect: 'joint - joint' compares nothing: every row's factor is zero; write
    joint - scratch.
above: 0} → within: 1, margin: 1}
    line 26, column 69: claims.text_helps.margin: it stands beside above or below, found within: 1; remove it.
masked_text: 1.0} → masked_text: "${labels.joint}"}
    line 11, column 56: base.pretrain.objectives.masked_text: no preset 'speech and text'; valid: contrastive,
    masked_speech, masked_text, tlm, stm, pair_ctc.
masked_text: 1.0} → masked_text: 1.0#half}
    line 11, column 56: base.pretrain.objectives.masked_text.weight: expected a number from 0, found '1.0#half'; a
    comment needs a space before its #.
{contrastive: 1.0, masked_speech: 1.0, → {contrastive: 1.0, masked_speech: {targets: kmean},
    line 11, column 52: base.pretrain.objectives.masked_speech.targets: no speech targets 'kmean'; did you mean
    'kmeans'?
steps: 100 → steps: ${base.pretrain.decai}
    line 12, column 5: base.pretrain.steps: '${base.pretrain.decai}' refers to nothing that is written; did you mean
    'base.pretrain.decay'?
steps: 100 → steps: ${base.pretrain.steps}
    line 12, column 5: base.pretrain.steps: this reference leads back to itself; write the value.
joint: {} → joint: {steps: 30}
    line 21, column 11: rows.joint.steps: unknown key 'steps'; did you mean 'pretrain.steps'?
name: small → name: small\nroot: ''
    line 2, column 1: root: expected a folder, found ''; write root: runs.
$ tasks=[asr] & base.tasks.digits.stepz=3 & table.columns=null
    override 'base.tasks.digits.stepz=3': base.tasks.digits.stepz: unknown key 'stepz'; did you mean 'steps'?
$ tasks=[asr,null]
    override 'tasks=[asr,null]': tasks[1]: expected text, found null.
$ BASE.encoder=nano
    override 'BASE.encoder=nano': BASE: unknown key 'BASE'; valid: name, question, changes_our_mind, extends, data,
    seeds, finetune_seeds, looks, budget, base, rows, tasks, axes, claims, labels, table, resources, plugins, root,
    cluster, workers, attention.
$ =3
    Override '=3': there is no key; write key=value.
$ extends=x.yaml
    Override 'extends=x.yaml': what a file extends is read with it; write extends in the file.
$ data=real & data.root=/nowhere
    override 'data.root=/nowhere': data.root is '/nowhere', which is not a folder; set it to the folder of the corpora.
seeds: [0, 1] → seeds: [0, -1]
    line 3, column 12: seeds[1]: expected a whole number from 0, found -1.
seeds: [0, 1] → seeds: [0, 1]\nplugins: [./lab/losses.py]
    line 4, column 11: plugins[0]: found './lab/losses.py', expected a module's name, as in my_lab.losses; write
    lab.losses.
seeds: [0, 1] → seeds: [0, 1]\nplugins: ['']
    line 4, column 11: plugins[0]: found '', expected a module's name, as in my_lab.losses; remove it.
pairs: 100 → seed: -1
    line 6, column 3: data.seed: expected a whole number from 0, found -1.
  pairs: 100 → \u00a0 pairs: 100
    line 6, column 1:   pairs: found a no-break space beside 'pairs'; write spaces.
  pairs: 100 →    \u00a0 pairs: 100
    line 6, column 4: found a no-break space; write spaces.
{size: 400} → {model: bpee}
    line 9, column 15: base.tokenizer.model: expected one of bpe, unigram, char, found 'bpee'; did you mean 'bpe'?
{size: 400} → {fields: [text]}
    line 9, column 24: rows.speech_only.tokenizer.fields[0]: found 'text', expected a text field, as in text.text.
{size: 400} → {fields: [text.nope]}
    line 9, column 24: rows.speech_only.tokenizer.fields[0]: found 'text.nope', expected a text field, as in text.text.
{size: 400} → {fields: [txt.text]}
    line 9, column 24: rows.speech_only.tokenizer.fields[0]: 'txt.text' names no table of the data with a train split;
    did you mean 'text'?
asr: {steps: 50} → asr: {steps: 50, tokenizer: {fields: [asr.id]}}
    line 17, column 43: rows.speech_only.tasks.asr.tokenizer.fields[0]: found 'asr.id', expected a text field, as in
    asr.text.
asr: {steps: 50} → asr: {preset: [asr]}
    line 17, column 5: base.tasks.asr: no task ['asr']; did you mean 'asr'?
optimizer: {lr: 2e-3, clip: 5.0} → optimizer: 3
    line 15, column 5: base.pretrain.optimizer: expected a mapping, found 3; write optimizer: {key: value}.
asr: {steps: 50} → asr: {tune: 0}
    line 17, column 11: base.tasks.asr.tune: expected a mapping, found 0; write tune: {key: value}.
joint: {} → joint: {}\n  broken: {encoder: {heads: 3}}
    line 22, column 12: rows.broken.encoder: Encoder width 64 is not divisible by heads 3. Choose heads that divide the
    width.
[10, 20] → [10, 20]\n  encoder.width: [48, 64]\n  encoder.heads: [3, 6]
    line 8, column 3: base.encoder: Encoder width 64 is not divisible by heads 3. Choose heads that divide the width
    (at encoder.width=64, encoder.heads=3).
[10, 20] → [10, 20]\n  encoder.reads: [[speech, text, pair], [text]]
    line 21, column 3: rows.joint: objective 'contrastive' reads speech, but the encoder reads text; remove it with
    pretrain: {objectives: {contrastive: null}}, or let the encoder read speech (at encoder.reads=["text"]).
speech and text} → speech and text, longer: speech and text}
    line 27, column 34: labels.longer: row 'joint' is shown as 'speech and text', too; write another label.
speech and text} → longer}
    line 27, column 10: labels.joint: row 'longer' is shown as 'longer', too; write another label.
mem_gb: 8 → mem_gb: true
    line 31, column 13: resources.mem_gb: found true, expected memory in GB, as in 40, 40G or 512M.
mem_gb: 8 → sbatch: {mail-type: [END]}
    line 31, column 22: resources.sbatch.mail-type: found ['END'], expected text, and not several lines; write
    mail-type: END.
$ axes.encoder.width=[32,64]
    Override 'axes.encoder.width=[32,64]': an axis is written as the setting and its values; write
    base.encoder.width=32,64.
$ axes.encoder.width=32,64
    Override 'axes.encoder.width=32,64': an axis is written as the setting and its values; write
    base.encoder.width=32,64.
$ axes.data.pairs=10
    Override 'axes.data.pairs=10': an axis is written as the setting and its values; write data.pairs=10.
$ data=real & data.held_out=0
    override 'data.held_out=0': data.held_out: expected a whole number from 1, found 0.
"""


def cases():
    """(old, new, overrides, sentence) of each mistake."""
    read = []
    for line in TABLE.strip("\n").splitlines():
        if line.startswith("    "):
            read[-1][3].append(line.strip())
        elif line.startswith("$ "):
            read.append(("", "", line[2:].split(" & "), []))
        else:
            old, new = (
                text.replace(r"\n", "\n").replace(r"\t", "\t").replace(r"\u00a0", "\u00a0")
                for text in line.split(" → ")
            )
            read.append((old, new, [], ["FILE,"]))
    return [(old, new, overrides, " ".join(said)) for old, new, overrides, said in read]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_PLUGINS", "")  # which a plan sets
    path = tmp_path / "small.yaml"
    path.write_text(FILE)
    return path


def test_the_file_itself_has_none(file):
    assert plan_file(file).rows == ["speech_only", "joint", "longer"]


@pytest.mark.parametrize(("old", "new", "overrides", "sentence"), cases())
def test_a_mistake_is_told_in_a_sentence_with_its_place(file, old, new, overrides, sentence):
    assert FILE.count(old) == 1 or not old
    file.write_text(FILE.replace(old, new) if old else FILE)
    with pytest.raises(UserError) as error:
        plan_file(file, overrides)
    assert str(error.value).replace(str(file), "FILE") == sentence


def test_nothing_written_of_a_name_and_of_a_root_is_their_default(file):
    file.write_text(FILE.replace("name: small", "name:\nroot:"))
    plan = plan_file(file, root="elsewhere")
    assert (plan.name, plan.root) == ("small", "elsewhere")


def test_nothing_written_of_a_stage_is_its_kind_as_it_is(file):
    file.write_text(FILE.replace("  encoder: nano", "  encoder: nano\n  stages: {probe: }"))
    with pytest.raises(UserError, match=r"rows\.speech_only\.stages\.probe\.kind: no kind 'probe'"):
        plan_file(file)


def test_a_reference_may_bring_shorthand(file):
    file.write_text(FILE.replace("encoder: nano", "encoder: '${changes_our_mind}'") + "changes_our_mind: tiny\n")
    assert plan_file(file).settings("joint")["encoder.kernel"] == 31


def test_a_byte_that_is_no_utf8_is_placed(file):
    file.write_bytes(FILE.replace("Does text", "Dos t\xe9xt").encode("latin-1"))
    with pytest.raises(
        UserError, match=r"small\.yaml, line 2: found a byte that is no UTF-8; save the file in UTF-8\."
    ):
        plan_file(file)
