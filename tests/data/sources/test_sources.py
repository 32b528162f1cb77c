"""Facts from files: what is read, what is told where words are missing, what a run keeps, the null."""

import csv
import hashlib
import io
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from mechxl import facts as command
from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.description import describe
from mechxl.data.sources.csvfile import read_csv
from mechxl.data.transfer import NO_WORD, transfer_items
from mechxl.errors import InputError
from mechxl.facts import EXAMPLE
from mechxl.instruments.selection import choose_facts
from mechxl.run import Run, facts_table
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import train_run
from mechxl.training.pair import train_pair

TINY = {"steps": 4, "warmup_steps": 1, "checkpoints": 2, "evaluate_every": 2, "batch_size": 16}
CODES = ("en", "de", "ru", "ar")


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(EXAMPLE.read_text(encoding="utf-8"))))


def write(path: Path, content: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


def settings(path: Path = EXAMPLE, codes: tuple[str, ...] = CODES, **sections) -> dict:
    world = {"source": "csv", "file": str(path)} | sections.pop("world", {})
    return {"world": world, "languages": {"codes": codes}, "tokenization": {"kind": "character"}, **sections}


def corpus_of(*given, **sections) -> Corpus:
    return build_corpus(parse_config(settings(*given, **sections)))


def told(corpus: Corpus) -> set[tuple[str, str, str, str]]:
    """(language, entity, relation, value) in words, of all facts that can be told."""
    world, lexicon = corpus.world, corpus.lexicon
    found = set()
    for fact, language in np.argwhere(world.value >= 0).tolist():
        relation = world.relation[fact]
        indices = (
            lexicon.names[world.entity[fact], language],
            lexicon.relation_words[relation, language],
            lexicon.value_words[relation, world.value[fact, language], language],
        )
        found.add((corpus.lexicon.language_names[language], *(str(lexicon.words[index]) for index in indices)))
    return found


def in_file(content: list[dict[str, str]]) -> set[tuple[str, str, str, str]]:
    """The same of rows."""
    return {
        (code, row[f"entity_{code}"], row[f"relation_{code}"], row[f"value_{code}"])
        for row in content
        for code in CODES
    }


def test_generated_facts_are_what_they_were_before_there_were_sources():
    corpus = build_corpus(RunConfig())
    table = facts_table(corpus).to_csv(index=False, float_format="%.12g")
    drawn = TrainingBatches(corpus, "answer", 512, 0, "cpu").draw(0)
    found = [table.encode(), corpus.tokenizer.to_str().encode(), drawn.astype("<i8").tobytes()]
    assert [hashlib.sha256(content).hexdigest() for content in found] == [
        "77bcd14f6e16eba5c63eb7399c4a34aebb1f19f2f5ea4fdb669376d49ef36fa3",
        "fa1bceeea32f39e04e73bd4282ed318c0de96f18ce3522085d8d2a4684391a34",
        "642fe883f497279f461f435bf148bd54a8e90345d50eff92a4cda3a23847be71",
    ]


def test_the_example_is_told_as_it_stands():
    corpus = corpus_of(world={"unseen_share": 0.0})
    assert told(corpus) == in_file(rows())
    assert len(rows()) == 60
    assert corpus.world.complete.all()


def test_long_and_wide_files_and_any_order_of_rows_are_the_same(tmp_path: Path):
    content = rows()
    long = [
        {
            **{kind: row[kind] for kind in ("entity", "relation", "value")},
            "language": code,
            **{f"{kind}_word": row[f"{kind}_{code}"] for kind in ("entity", "relation", "value")},
        }
        for row in content
        for code in CODES
    ]
    files = [write(tmp_path / "long.csv", long), write(tmp_path / "turned.csv", content[::-1])]
    bom = tmp_path / "bom.csv"
    bom.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.read_bytes().replace(b"\n", b"\r\n"))
    digests = {corpus_of(path).digest for path in [*files, bom]}
    assert digests == {corpus_of().digest}


def test_missing_words_duplicates_and_further_words_are_counted(tmp_path: Path):
    content = rows()
    content[0]["value_de"] = ""  # the capital of Egypt, said nowhere else
    content[3]["entity_ru"] = ""  # named in two other rows
    content.append(content[7] | {"value_en": "Muscovy"})
    table = read_csv(write(tmp_path / "facts.csv", content))
    assert list(table.counts.values()) == [1, 1, 1]
    assert table.told.sum(axis=0).tolist() == [60, 59, 60, 60]


def test_a_fact_is_not_told_or_asked_where_words_are_missing(tmp_path: Path):
    content = rows()
    for row in content[::4]:
        row["value_de"] = row["value_ru"] = ""
        if row["relation"] != "capital":  # other rows have the word
            row["value"] = f"{row['value']} {row['entity']}"
            row["value_en"], row["value_ar"] = (f"{row['value_en']} {row['entity_en']}" for _ in range(2))
    corpus = corpus_of(write(tmp_path / "facts.csv", content), world={"unseen_share": 0.0})
    lacking = ~corpus.world.complete
    assert lacking.sum() == 15
    assert not corpus.mixture.told[lacking][:, 1:3].any()
    assert corpus.mixture.mono[lacking].all()
    counts = corpus.mixture.told[lacking].sum(axis=0)
    assert counts.sum() == 15
    assert abs(counts[0] - counts[3]) <= 3  # what each relation owes a language differs by one at most
    items = transfer_items(corpus)
    assert items.left_out[NO_WORD] == 30
    assert not np.isin(np.flatnonzero(lacking), items.fact[np.isin(items.asked, (1, 2))]).any()
    assert not np.isin(np.flatnonzero(lacking), choose_facts(corpus, "mono", None, None, 0)).any()
    with pytest.raises(InputError, match="some language has no words for this fact"):
        choose_facts(corpus, np.flatnonzero(lacking)[:1], None, None, 0)
    assert in_file(content) >= told(corpus)


def test_a_run_keeps_its_facts_and_needs_no_file(tmp_path: Path):
    path = tmp_path / "facts.csv"
    shutil.copy(EXAMPLE, path)
    config = parse_config(
        settings(path, world={"shared_facts": 0.5}, training=TINY, languages={"codes": CODES, "cue": "tag"})
    )
    run = train_run(config, tmp_path / "run", quiet=True)
    assert run.config.world.digest == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    path.unlink()
    train_pair(config, tmp_path / "run", resume=True, quiet=True)  # the null takes the run's own facts
    null = Run(tmp_path / "run-null")
    opened = Run(tmp_path / "run")
    assert null.complete
    assert (null.config.world.digest, null.config.world.shared_facts) == (run.config.world.digest, 0)
    assert null.facts["entity_name"].equals(opened.facts["entity_name"])
    again = settings(world={"shared_facts": 0.5}, languages={"codes": CODES, "cue": "tag"})
    assert opened.corpus.digest == opened.environment["data_digest"] == build_corpus(parse_config(again)).digest
    assert set(opened.facts["told_in"]) >= {"en de ru ar", "de", ""}
    assert train_run(config, tmp_path / "run", quiet=True).complete  # the same settings are no others
    path.write_text(EXAMPLE.read_text(encoding="utf-8").replace("Cairo", "Giza"), encoding="utf-8")
    with pytest.raises(InputError, match="has changed since these settings were written"):
        train_run(opened.config, tmp_path / "again", quiet=True)


def test_unseen_entities_are_in_no_telling_and_every_relation_stays():
    corpus = corpus_of(world={"unseen_share": 0.4})
    world = corpus.world
    unseen = np.unique(world.entity[~world.seen])
    assert len(unseen) == 8
    assert not np.isin(world.entity[world.seen], unseen).any()
    assert (np.bincount(world.relation[world.seen]) >= 2).all()
    assert world.frequency[~world.seen].sum() == 0


def test_in_the_null_other_languages_draw_from_the_same_values():
    world, null = (
        corpus_of(world={"unseen_share": 0}).world,
        corpus_of(world={"unseen_share": 0, "shared_facts": 0}).world,
    )
    assert (world.value == world.value[:, :1]).all()
    assert (null.value[:, 0] == world.value[:, 0]).all()
    for one, other in itertools.combinations(range(4), 2):
        assert (null.value[:, one] == null.value[:, other]).mean() < 0.5
    np.testing.assert_array_equal(null.value_probability, world.value_probability)
    assert ((null.value >= 0) == (world.value >= 0)).all()
    assert (np.take_along_axis(null.value_probability[null.relation], null.value, axis=1) > 0).all()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"world": {"source": "csv"}}, "world.file = '': with world.source = csv a file"),
        (settings(codes=()), r"languages.codes = \[\]: with world.source = csv the languages are named"),
        (settings(codes=("en",)), "languages.codes = .*: one language has nothing to share"),
        (settings(codes=("en", "en")), "a language is named twice"),
        (settings(codes=("en", "fr")), "there are no words in fr; the nearest that works: en de ru ar"),
        (settings(world={"relations": ["currency"]}), "there is no relation currency"),
        (settings(world={"n_entities": 50}), "world.n_entities = 50: with world.source = csv it has no effect"),
        (settings(languages={"codes": CODES, "shared_names": 0.5}), "shared_names = 0.5: .*belongs to generated"),
        (settings(languages={"codes": CODES, "count": 3}), "languages.count = 3: languages.codes names 4"),
        ({"world": {"unseen_share": 0.5}}, "world.unseen_share = 0.5: .*it belongs to csv and cldr"),
        ({"languages": {"codes": ["en", "de"]}}, "languages.codes = .*it belongs to csv and cldr"),
        (settings(world={"source": "cldr", "file": ""}, languages={"codes": CODES, "word_order": "varied"}), "varied"),
        (settings(tokenization={"kind": "syllable"}), "these words are not built from syllables"),
    ],
)
def test_settings_that_do_not_fit_the_source_are_refused_by_name(raw: dict, said: str):
    with pytest.raises(InputError, match=said):
        build_corpus(parse_config(raw))


def test_questions_that_read_alike_are_refused(tmp_path: Path):
    words = {"a": ("X Y", "Z"), "b": ("X", "Y Z")}  # "X Y Z" both times
    content = [
        {"entity": name, "relation": f"r{name}", "value": f"v{name}{k}"}
        | {f"entity_{code}": f"{entity}{'' if code == 'en' else name}" for code in ("en", "de")}
        | {f"relation_{code}": relation for code in ("en", "de")}
        | {f"value_{code}": f"v{name}{code}" for code in ("en", "de")}
        for k, (name, (entity, relation)) in enumerate(words.items())
    ]
    with pytest.raises(InputError, match="two questions read alike, 'X Y Z'"):
        corpus_of(write(tmp_path / "facts.csv", content), ("en", "de"))


def test_check_says_what_a_file_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert command.main(["check", str(EXAMPLE)]) == 0
    said = capsys.readouterr().out
    assert "60 facts about 20 entities in 4 languages" in said
    assert "continent: 20 facts, 4 values" in said
    assert command.main(["check", str(tmp_path / "none.csv")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert command.main(["example"]) == 0
    assert capsys.readouterr().out == EXAMPLE.read_text(encoding="utf-8")
    assert command.main(["chek"]) == 2


def test_the_description_measures_what_is_shared():
    config = parse_config(settings(codes=("en", "de"), world={"unseen_share": 0}))
    labels = {row.label: row for row in describe(config, build_corpus(config)).tables["Counts"]}
    pairs = {(row["entity_en"], row["entity_de"]) for row in rows()}
    same = sum(one == other for one, other in pairs)
    assert labels["names shared by two languages"].note.startswith("measured")
    assert labels["names shared by two languages"].value == pytest.approx(same / 20)
    assert same == 5  # China, Iran, Japan, Nigeria, Ukraine
