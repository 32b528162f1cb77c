"""Ready tokenizers from files cut words as the file's own tokenizer cuts the word after a space."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mechxl.config import parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.ready import ready_tokenizer
from mechxl.data.tokenization import PAD, SPECIAL, transformers_tokenizer
from mechxl.errors import InputError
from mechxl.facts import EXAMPLE
from mechxl.run import Run
from mechxl.training.loop import train_run

CODES = ("en", "de", "ru", "ar")
TEXT = [
    line.replace(",", " ") + " and lower " + line.lower() for line in EXAMPLE.read_text(encoding="utf-8").split("\n")
]
SPACE = "▁"


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False))
    return made


def word_piece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    made.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[UNK]"], show_progress=False)
    )
    return made


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(
        TEXT, trainers.UnigramTrainer(vocab_size=500, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    )
    return made


def sentence_piece() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    made.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.pre_tokenizer = None
    words = [word for line in TEXT for word in line.split()]
    made.train_from_iterator(words, trainers.BpeTrainer(vocab_size=900, show_progress=False))
    return made


KINDS = {"byte level": byte_level, "word piece": word_piece, "unigram": unigram, "sentence piece": sentence_piece}


def settings(file: Path, **more) -> dict:
    return {
        "world": {"source": "csv", "file": str(EXAMPLE)},
        "languages": {"codes": CODES},
        "tokenization": {"kind": "file", "file": str(file)},
    } | more


def written(made: Tokenizer, path: Path) -> Path:
    path.write_text(made.to_str(), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_cut_as_the_file_cuts_them(kind: str, tmp_path: Path):
    made = KINDS[kind]()
    corpus: Corpus = build_corpus(parse_config(settings(written(made, tmp_path / "tokenizer.json"))))
    names = {number: token for token, number in corpus.tokenizer.get_vocab().items()}
    before = "x " if kind in ("byte level",) else ""  # after a space
    for word in np.random.default_rng(0).permutation(corpus.lexicon.words)[:40].tolist():
        for part in word.split():
            ids = corpus.tokenizer.encode(part, add_special_tokens=False).ids
            alone = made.encode(before + part, add_special_tokens=False).tokens
            assert [names[i] for i in ids] == alone[len(alone) - len(ids) :]
            assert "".join(alone).endswith("".join(names[i] for i in ids))
    assert corpus.tokenizer.get_vocab_size() < made.get_vocab_size() + 3
    text = corpus.text(0, 0)
    s = corpus.sequences(np.array([0]), np.array([0]))
    assert transformers_tokenizer(corpus.tokenizer)(text)["input_ids"] == s.tokens[0, : s.length[0] - 1].tolist()


def test_a_run_keeps_its_tokenizer_and_needs_no_file(tmp_path: Path):
    path = written(byte_level(), tmp_path / "tokenizer.json")
    training = {"steps": 2, "warmup_steps": 1, "checkpoints": 2, "batch_size": 8}
    config = parse_config(settings(path, training=training))
    run = train_run(config, tmp_path / "run", quiet=True)
    assert len(run.config.tokenization.digest) == 64
    path.write_text("{}", encoding="utf-8")
    opened = Run(tmp_path / "run")
    assert opened.corpus.digest == opened.environment["data_digest"]
    with pytest.raises(InputError, match="has changed since these settings were written"):
        train_run(opened.config, tmp_path / "again", quiet=True)


def test_files_that_do_not_fit_are_refused(tmp_path: Path):
    lower = word_piece()
    lower.normalizer = normalizers.BertNormalizer(strip_accents=True, lowercase=True)
    latin = Tokenizer(models.WordLevel({"Rome": 0, "[UNK]": 1}, unk_token="[UNK]"))
    content = {
        "no JSON": ("{", "is no tokenizer.json"),
        "another JSON": (json.dumps({"a": 1}), "is no tokenizer.json"),
        "no such words": (latin.to_str(), "has no tokens for"),
    }
    for text, said in content.values():
        path = tmp_path / "tokenizer.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            build_corpus(parse_config(settings(path)))
    path = written(lower, tmp_path / "lower.json")
    with pytest.raises(InputError, match="'Brasília' and 'brasilia' have the same tokens"):
        ready_tokenizer(path, np.array(["Brasília", "Peru", "brasilia"]), SPECIAL, PAD)
    with pytest.raises(InputError, match="there is no such file"):
        build_corpus(parse_config(settings(tmp_path / "none.json")))
    with pytest.raises(InputError, match=r"tokenization\.file = '': with tokenization.kind = file"):
        parse_config({"tokenization": {"kind": "file"}})
    with pytest.raises(
        InputError, match=r"tokenization\.file = 'x': with tokenization.kind = syllable it has no effect"
    ):
        parse_config({"tokenization": {"file": "x"}})


def test_byte_level_bpe_writes_words_of_any_script_and_reads_them_back():
    raw = settings(Path("unused"), tokenization={"kind": "byte_bpe", "vocab_size": 400})
    corpus = build_corpus(parse_config(raw))
    assert corpus.tokenizer.get_vocab_size() == 400
    for word in corpus.lexicon.words.tolist():
        ids = corpus.tokenizer.encode(word, add_special_tokens=False).ids
        assert corpus.tokenizer.decode(ids) == word
    assert (corpus.word_tokens >= 0).sum() < sum(len(word.encode()) for word in corpus.lexicon.words)
