"""Words to tokens: word, syllable, character, byte, BPE, byte-level BPE, or a ready file: Hugging Face fast tokenizers.

A word of real facts may hold spaces; each of its parts is cut by itself. Spaces only separate words: they are no
tokens, no token spans two words, and decoding restores them. Tokens that continue a word are marked ## (as in BERT's
WordPiece), so that `vah ##gal tir` reads as "vahgal tir".
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from mechxl.config import TokenizationConfig
from mechxl.data.ready import ready_tokenizer
from mechxl.errors import refuse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPECIAL = [PAD, BOS, EOS]
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
CONTINUES = "##"
LETTERS: Mapping[str, int | None] = {"word": None, "character": 1, "byte": 1}  # of a token; None: the whole word


def build_tokenizer(
    config: TokenizationConfig, words: np.ndarray, sentences: Iterable[str], syllable_letters: int
) -> Tokenizer:
    """A fast tokenizer that prepends BOS and whose vocabulary covers all words.

    Args:
        config: the kind, and the size of a BPE vocabulary.
        words: every word, those of unseen entities included.
        sentences: the text from which BPE learns its merges; the other kinds ignore it.
        syllable_letters: letters in a syllable; 0 if words are not built from syllables.

    Raises:
        InputError: a BPE vocabulary is smaller than its alphabet or larger than merges can make it; words that are not
            built from syllables are to be cut into syllables; or the file holds no tokenizer for these words.
    """
    if config.kind == "file":
        return _finished(ready_tokenizer(Path(config.file), words, SPECIAL, unknown=PAD))
    words = np.array(sorted({part for word in words.tolist() for part in word.split()}))
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    in_bytes = config.kind in ("byte", "byte_bpe")

    def spelled(text: str) -> str:
        return spell.pre_tokenize_str(text)[0][0] if in_bytes else text

    if config.kind in ("bpe", "byte_bpe"):
        written = (" ".join(map(spelled, sentence.split())) for sentence in sentences)
        tokenizer = _byte_pairs(config.vocab_size, np.array([spelled(word) for word in words.tolist()]), written)
    else:
        if config.kind == "syllable" and not syllable_letters:
            raise refuse("tokenization.kind", config.kind, "these words are not built from syllables", "character")
        size = syllable_letters if config.kind == "syllable" else LETTERS[config.kind]
        pieces = {piece for word in map(spelled, words.tolist()) for piece in cut(word, size or len(word))}
        vocabulary = {token: index for index, token in enumerate([*SPECIAL, *sorted(pieces)])}
        longest = 1 + max(len(word.encode()) for word in words)
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=PAD, max_input_chars_per_word=longest))
    split = pre_tokenizers.WhitespaceSplit()
    join = decoders.WordPiece(prefix=CONTINUES, cleanup=False)
    if in_bytes:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, spell])
        tokenizer.decoder = decoders.Sequence([join, decoders.Replace(" ", "Ġ"), decoders.ByteLevel()])
    else:
        tokenizer.pre_tokenizer = split
        tokenizer.decoder = join
    return _finished(tokenizer)


def _finished(tokenizer: Tokenizer) -> Tokenizer:
    """With BOS at the beginning of every sentence."""
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def cut(word: str, size: int) -> list[str]:
    """The pieces of a word, `size` letters each; all except the first are marked as continuing the word."""
    pieces = [word[start : start + size] for start in range(0, len(word), size)]
    return [*pieces[:1], *(CONTINUES + piece for piece in pieces[1:])]


def _byte_pairs(vocab_size: int, words: np.ndarray, sentences: Iterable[str]) -> Tokenizer:
    alphabet = {piece for word in words for piece in [*word, *cut(word, 1)]}
    smallest = len(SPECIAL) + len(alphabet)
    if vocab_size < smallest:
        reason = (
            f"the {len(SPECIAL)} special tokens, the letters, and the letters that continue a word are {smallest} "
            "tokens already"
        )
        raise refuse("tokenization.vocab_size", vocab_size, reason, str(smallest))
    draft = Tokenizer(models.BPE(continuing_subword_prefix=CONTINUES))
    draft.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        # By itself the trainer numbers letters in the order of a hash, which differs from call to call, and numbers
        # decide ties. So this draft is given all letters in order, as special tokens.
        special_tokens=[*SPECIAL, *sorted(alphabet)],
        continuing_subword_prefix=CONTINUES,
        min_frequency=0,
        show_progress=False,
    )
    draft.train_from_iterator(sentences, trainer)
    model = json.loads(draft.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, continuing_subword_prefix=CONTINUES))
    reached = tokenizer.get_vocab_size()
    if reached < vocab_size:
        reason = "every word is one token before the vocabulary is as large"
        raise refuse("tokenization.vocab_size", vocab_size, reason, str(reached))
    return tokenizer


def word_tokens(tokenizer: Tokenizer, words: np.ndarray) -> Int[np.ndarray, "word place"]:
    """The tokens of each word, padded with -1. No token spans two words, so these make up every sentence."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(words.tolist(), add_special_tokens=False)]
    lengths = np.array([len(row) for row in rows])
    table = np.full((len(rows), int(lengths.max())), -1)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([np.array(row) for row in rows])
    return table


def token_texts(tokenizer: Tokenizer) -> list[str]:
    """What each token stands for, by number, as a person reads it.

    Tokens of bytes are stored as letters that stand for bytes. They are shown as the text of these bytes: a space as
    ␣, and bytes that are no whole letter in hexadecimal, \\xd0. Other tokens are shown as they are.
    """
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    steps = json.loads(tokenizer.to_str())["pre_tokenizer"]
    if all(step["type"] != "ByteLevel" for step in steps.get("pretokenizers", [steps])):
        return tokens
    value = {letter: byte for byte, letter in _byte_letters().items()}

    def text(token: str) -> str:
        mark = CONTINUES if token.startswith(CONTINUES) and token != CONTINUES else ""
        content = bytes(value[letter] for letter in token.removeprefix(mark))
        return mark + content.decode(errors="backslashreplace").replace(" ", "␣")

    return [token if token in SPECIAL or set(token) - set(value) else text(token) for token in tokens]


def _byte_letters() -> dict[int, str]:
    """The letter that stands for each byte, as in GPT-2: printable ones for themselves, the others from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def transformers_tokenizer(tokenizer: Tokenizer) -> "PreTrainedTokenizerFast":
    """The tokenizer as a transformers `PreTrainedTokenizerFast`, in the form that HookedTransformer takes offline."""
    from transformers import PreTrainedTokenizerFast

    # TransformerLens reads name_or_path from these arguments. It would load the tokenizer of that name from the hub if
    # this one did not add BOS.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path="mechxl",
        add_bos_token=True,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=PAD,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
