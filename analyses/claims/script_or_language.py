"""Does transfer of real facts fail by script, by language, or by words in common?

    python -m analyses script_or_language

Question (after arXiv 2603.17070): real names, real scripts, and letters exchanged one for one, so that script changes
and nothing else does. The model starts from nothing, so languages can be alike to it only through the facts, and
through tokens and words in common.

Hypothesis. Transfer follows names in common. Another script takes them away, and so transfer falls; relatedness of the
languages counts through names alone; letters (tokens) in common without names in common give nothing.

Grid, fixed before any of these runs. Croatian and one other language, from CLDR: two relations of territories
(main_language, region), half of the facts parallel, the rest told in one of the two, tag shown. The other language by
script and relatedness: Slovene (Latin, near), Hungarian (Latin, far), Serbian (Cyrillic, near), Greek (Greek, far). Two
ways of changing script alone: Serbian in Latin letters, as CLDR has it; and `languages.letters`, a seeded exchange of
the other language's letters, "apart" for letters that nothing else is written in, "first" for the Croatian ones, so
that letters are in common and words are not. Nine cells and a trained null (shared_facts 0, Slovene); seeds 140 to 151,
which no other study uses: 120 runs. BPE of 800 tokens, learned from both languages together. d_model 32, 600 steps of
64 sentences: small, for want of time.

Seen before, with this recipe on seed 901, 13 evaluations a run: recall 1.00 and transfer of all items .72 (Slovene),
.26 (Slovene in Croatian letters), .18 (Greek); with batches of 128 and 500 steps .76, .18 and .24. On seed 900, without
tags, recall stayed below 1 where questions were the same in both languages; so tags are shown. The direction of the
first and third tests is therefore no surprise for Slovene; the others had not been seen.

Measured at the end of training. Transfer: items (a mono fact asked in the other language) whose name and whose value
were both told in the asked language, in other facts; so that cells ask nearly the same. Beside it: transfer of all
items; of the items with the name equal in both languages and of those without; the best guess without facts. Overlap:
`names`, the share of those items whose name is equal in both languages; `answers`, the same of the value's word;
`letters`, the Jaccard index of the token types of the two languages' names and values; `pieces`, the mean over items of
the Dice coefficient of the tokens of the name in one language and in the other. The facts are correlated (a region says
much about a language), in every cell alike: a model can guess from an entity's parallel fact. So differences are tested
and not levels.

Tests, over twelve seeds, two-sided exact sign tests of differences in transfer, Holm over all eleven.
(a) script alone, words real: Slovene less Slovene apart; Hungarian less Hungarian apart; Serbian in Latin letters less
    Serbian in Cyrillic ones.
(b) letters without words: Slovene in Croatian letters less Slovene apart; the same of Hungarian.
(c) relatedness: near less far, in the same script (Slovene, Hungarian), in the same script exchanged (apart), in other
    scripts (Serbian, Greek).
(d) within Slovene: items with equal names less items without.
(e) what overlap explains, over the nine cells of a seed: the partial correlation of transfer with `names` given
    `letters`, and with `letters` given `names`.
The hypothesis holds if (a), (d), (c) in the same script and (e) for names are above 0 with p <= .05, and no other test
is above 0 with p <= .05. It is refuted if one of (a) is not above 0 with p <= .05, or if (b), (c) in other scripts or
exchanged, or (e) for letters is above 0 with p <= .05: then script or relatedness does something that names do not.
Described beside: the share of the variance over cells, within a seed, that each overlap explains by itself, and names
and letters together. A run whose recall is below .99 is counted, and stays in.
"""

GRID = {
    "seeds": [140, 141, 142, 143, 144, 145, 146, 147, 148, 149, 150, 151],
    "base": {
        "world.source": "cldr",
        "world.relations": ["main_language", "region"],
        "languages.cue": "tag",
        "tokenization.kind": "bpe",
        "tokenization.vocab_size": 800,
        "model.d_model": 32,
        "model.d_mlp": 128,
        "training.batch_size": 64,
        "training.steps": 600,
        "training.learning_rate": 0.004,
        "training.checkpoints": 2,
        "training.evaluate_every": 200,
        "training.threads": 1,
    },
    "runs": [
        {"name": "slovene", "languages.codes": ["hr", "sl"]},
        {"name": "slovene_apart", "languages.codes": ["hr", "sl"], "languages.letters": "apart"},
        {"name": "slovene_first", "languages.codes": ["hr", "sl"], "languages.letters": "first"},
        {"name": "hungarian", "languages.codes": ["hr", "hu"]},
        {"name": "hungarian_apart", "languages.codes": ["hr", "hu"], "languages.letters": "apart"},
        {"name": "hungarian_first", "languages.codes": ["hr", "hu"], "languages.letters": "first"},
        {"name": "serbian_latin", "languages.codes": ["hr", "sr_Latn"]},
        {"name": "serbian", "languages.codes": ["hr", "sr"]},
        {"name": "greek", "languages.codes": ["hr", "el"]},
        {"name": "null", "languages.codes": ["hr", "sl"], "world.shared_facts": 0.0},
    ],
}
