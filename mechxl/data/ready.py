"""A ready tokenizer from a file (Hugging Face's tokenizer.json), fitted to mechxl's sentences.

It cuts every word as the file's tokenizer cuts the word after a space. Only tokens that these words need are kept, so
that the model's vocabulary stays small; they are numbered anew, after mechxl's own special tokens.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mechxl.errors import InputError, quoted
from mechxl.files import check_path, read_bytes, reason

LARGEST = 2**26  # bytes
METASPACE = "▁"
Json = dict[str, Any]  # of a library's file format, which has no types


def ready_content(path: Path) -> bytes:
    """The content of a tokenizer's file.

    Raises:
        InputError: it can't be read.
    """
    check_path(path, "tokenization.file")
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; tokenization.file is a tokenizer.json") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({reason(error)}); tokenization.file is a tokenizer.json") from None


def ready_digest(path: Path) -> str:
    """SHA-256 of a tokenizer's file."""
    return hashlib.sha256(ready_content(path)).hexdigest()


def ready_tokenizer(path: Path, words: np.ndarray, special: list[str], unknown: str) -> Tokenizer:
    """The file's tokenizer for these words: without a post-processor, and without the tokens that no word needs.

    Args:
        path: the file.
        words: every word of the corpus; parts between spaces are cut one by one.
        special: mechxl's special tokens, which get the first numbers.
        unknown: the special token for what has no token.

    Raises:
        InputError: the file holds no tokenizer of a known kind; a word has no tokens, or two words have the same.
    """
    content = ready_content(path)
    try:
        file: Json = json.loads(content)
        file |= {"post_processor": None, "added_tokens": [], "padding": None, "truncation": None}
        file["pre_tokenizer"], file["normalizer"] = _by_word(file.get("pre_tokenizer"), file.get("normalizer"))
        whole = Tokenizer.from_str(json.dumps(file))
        kind = file["model"].get("type") or ("BPE" if "merges" in file["model"] else "")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises plain Exception, and panics
        what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: is no tokenizer.json ({what}); give a file of Hugging Face's fast tokenizers"
        ) from None
    if kind not in _TRIMMED:
        raise InputError(f"{path}: a tokenizer of the kind {kind!r} can't be used; {', '.join(_TRIMMED)} can")
    parts = sorted({part for word in words.tolist() for part in word.split()})
    cut = {part: whole.encode(part, add_special_tokens=False).tokens for part in parts}
    lacking = file["model"].get("unk_token")
    if bad := next((part for part, tokens in cut.items() if not tokens or lacking in tokens), None):
        raise InputError(f"{path}: has no tokens for {quoted(bad)}; take a tokenizer of this language, or byte_bpe")
    used = {token for tokens in cut.values() for token in tokens}
    file["model"] = _TRIMMED[kind](file["model"], used, special, unknown)
    fitted = Tokenizer.from_str(json.dumps(file))
    _check(path, fitted, cut, words)
    return fitted


def _check(path: Path, fitted: Tokenizer, cut: dict[str, list[str]], words: np.ndarray) -> None:
    for part, tokens in cut.items():
        if fitted.encode(part, add_special_tokens=False).tokens != tokens:
            raise InputError(f"{path}: can't be reduced to the tokens of these words ({quoted(part)}); use byte_bpe")
    said: dict[tuple[str, ...], str] = {}
    for word in words.tolist():
        tokens = tuple(token for part in word.split() for token in cut[part])
        if said.setdefault(tokens, word) != word:
            what = f"{quoted(said[tokens])} and {quoted(word)} have the same tokens"
            raise InputError(f"{path}: {what}; take a tokenizer that keeps case and accents, or byte_bpe")


def _by_word(pre: Json | None, normalizer: Json | None) -> tuple[Json, Json | None]:
    """The pre-tokenizer and normalizer that cut at spaces first, and treat each word as one that follows a space."""
    steps = _steps(normalizer, "normalizers")
    marks = [step for step in steps if step["type"] == "Prepend" and step.get("prepend") == METASPACE]
    if marks:  # as SentencePiece's models of old have it: the same as a Metaspace
        steps = [step for step in steps if step not in marks and step.get("content") != METASPACE]
        pre = {"type": "Metaspace", "replacement": METASPACE, "prepend_scheme": "always", "split": True}
    own = [_after_a_space(step) for step in _steps(pre, "pretokenizers")]
    both = [{"type": "WhitespaceSplit"}, *own]
    normal = {"type": "Sequence", "normalizers": steps} if steps else None
    return {"type": "Sequence", "pretokenizers": both}, normal


def _steps(step: Json | None, inside: str) -> list[Json]:
    if step is None:
        return []
    return [one for part in step[inside] for one in _steps(part, inside)] if step["type"] == "Sequence" else [step]


def _after_a_space(step: Json) -> Json:
    changed = {"ByteLevel": {"add_prefix_space": True}, "Metaspace": {"prepend_scheme": "always", "split": True}}
    return step | changed.get(step["type"], {})


def _trim_pairs(model: Json, used: set[str], special: list[str], unknown: str) -> Json:
    """BPE: the merges whose result is a part of a token in use; any merge on the way to a token is among them."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""

    def bare(token: str) -> str:
        return token.removeprefix(prefix).removesuffix(suffix) or token

    inside = {
        text[start:end]
        for text in map(bare, used)
        for start in range(len(text))
        for end in range(start + 1, len(text) + 1)
    }
    pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    merges = [(a, b) for a, b in pairs if bare(a + b.removeprefix(prefix)) in inside]
    kept = used | {token for token in model["vocab"] if len(bare(token)) == 1 and bare(token) in inside}
    kept |= {token for a, b in merges for token in (a, b, a + b.removeprefix(prefix))}
    vocabulary = _numbered(model["vocab"], kept, special)
    return model | {"vocab": vocabulary, "merges": [list(pair) for pair in merges], "unk_token": unknown}


def _trim_words(model: Json, used: set[str], special: list[str], unknown: str) -> Json:
    """WordPiece and WordLevel: longest pieces first, so that pieces that were never taken can go."""
    return model | {"vocab": _numbered(model["vocab"], used, special), "unk_token": unknown}


def _trim_unigram(model: Json, used: set[str], special: list[str], unknown: str) -> Json:
    """Unigram: the best path stays the best where others go. Special tokens score worst."""
    worst = min(score for _, score in model["vocab"]) - 100
    kept = [[token, score] for token, score in model["vocab"] if token in used]
    return model | {"vocab": [*([token, worst] for token in special), *kept], "unk_id": special.index(unknown)}


def _numbered(vocabulary: dict[str, int], kept: set[str], special: list[str]) -> dict[str, int]:
    in_order = sorted(kept & vocabulary.keys(), key=vocabulary.__getitem__)
    return {token: number for number, token in enumerate([*special, *in_order])}


_TRIMMED = {"BPE": _trim_pairs, "WordPiece": _trim_words, "WordLevel": _trim_words, "Unigram": _trim_unigram}
