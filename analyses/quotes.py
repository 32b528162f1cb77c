"""Numbers in prose. Each is followed by a comment that says what it is, and that a reader of the page does not see.

    .73 [.66, .79]<!-- language.transfer.informative_0 -->   a number of a study, as its `numbers(rows)` gives it
    .05<!-- fixed -->                                        no result: a setting, a level, what was published before

What stands before the comment is a number, with its interval or a % sign, a version, or a single word (holds, fails).
It follows without a space. What stands in code is no prose.

Beside a study's own numbers, `NAME.trained.gpu` and `NAME.trained.cpu` are how many runs were trained there, and
`NAME.trained.torch` is the version of torch.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from analyses.study import load, read_results, read_trained_on, studies
from mechxl.errors import InputError

ROOT = Path(__file__).parents[1]

_NUMBER = r"[−-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
_VERSION = r"\d+\.\d+\.\d+"
VALUE = rf"(?:{_VERSION}|{_NUMBER}(?:\s\[{_NUMBER},\s{_NUMBER}\]|\s?%)?|[A-Za-z]+)"
_BEFORE = re.compile(rf"(?<![\w.,−-]){VALUE}\Z")
_NAME = re.compile(r"<!--\s*([a-z]\w*\.[\w.-]+?)\s*-->")
_MARKED = rf"{VALUE}<!--\s*(?:fixed|[a-z]\w*\.[\w.-]+?)\s*-->"
_CODE = (
    r"^```.*?^```$",  # fenced
    r"(?:(?<=\n\n)|\A)(?: {4}[^\n]*\n)+",  # indented
    r"(`+)(?!`)(?:(?!\n\n).)*?(?<!`)\1(?!`)",  # in a line
)
_NO_PROSE = (
    r"<!-- table: .*?<!-- end -->",
    _MARKED,
    r"<!--.*?-->",
    r"\]\([^)]*\)",  # where a link leads
    r"et al\.,? \d{4}",
)
_NUMERAL = re.compile(rf"(?<![\w-])(?<!\w\.){_NUMBER}(?:\s?%)?")


def pages() -> dict[Path, bool]:
    """The pages that may quote numbers; whether each number in them must be marked."""
    strict = [ROOT / "README.md", ROOT / "analyses" / "README.md", *sorted(ROOT.glob("analyses/claims/*.md"))]
    all_pages = dict.fromkeys(strict, True) | dict.fromkeys(sorted(ROOT.glob("docs/*.md")), False)
    return {page: must for page, must in all_pages.items() if page.is_file()}


def numbers_of(name: str) -> dict[str, str]:
    """The numbers of a study, from its kept results: `language.transfer.informative_0` is .73.

    Raises:
        InputError: a number is none that prose can quote.
    """
    study = load(name)
    own = study.numbers(read_results(name)) if hasattr(study, "numbers") else {}
    found = {f"{name}.{key}": value for key, value in (own | _trained(name)).items()}
    for key, value in found.items():
        if not re.fullmatch(VALUE, value):
            raise InputError(
                f"number {key} = {value!r}: can't be quoted; give a number, with [low, high] or %, or a word"
            )
    return found


def _trained(name: str) -> dict[str, str]:
    """Where a study's runs were trained, if its results say so."""
    runs = read_trained_on(name)
    versions = {where.rpartition("torch ")[2] for where in runs}
    gpu = sum(count for where, count in runs.items() if where.startswith("GPU"))
    found = {"gpu": str(gpu), "cpu": str(sum(runs.values()) - gpu), "torch": "".join(versions)}
    return {f"trained.{key}": value for key, value in found.items()} if len(versions) == 1 else {}


def quoted(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, name) of each quoted number; start = end where nothing that can be one stands before the comment."""
    shown = prose(text)
    for mark in _NAME.finditer(shown):
        value = _BEFORE.search(shown, max(0, mark.start() - 100), mark.start())
        yield value.start() if value else mark.start(), mark.start(), mark[1]


def with_numbers(text: str, numbers: Mapping[str, str]) -> str:
    """A page's text with these numbers as they are now; quotes of others stay as they are."""
    for start, end, name in reversed([*quoted(text)]):
        if name in numbers and start < end:
            text = text[:start] + numbers[name] + text[end:]
    return text


def wrong(text: str, numbers: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of each quoted number that the results do not hold."""
    for start, end, name in quoted(text):
        said, where = " ".join(text[start:end].split()), line_of(text, end)
        if name not in numbers:
            near = (
                f"there are: {', '.join(studies())}" if name.split(".")[0] not in studies() else "see its numbers(rows)"
            )
            yield where, f"no study has the number {name}; {near}"
        elif not said:
            yield where, f"no number stands before the comment {name}; the results hold {numbers[name]}"
        elif said != numbers[name]:
            yield where, f"{name} is {said} here, and {numbers[name]} in the results"


def unmarked(text: str) -> Iterator[tuple[int, str]]:
    """(line, number) of each number in prose without a comment that says what it is.

    A decimal, a percentage, a number below 0 or one of three digits and more: those are what results look like.
    """
    for found in _NUMERAL.finditer(_without(prose(text), _NO_PROSE)):
        number = found[0]
        if number[0] in "−-" or "." in number or "%" in number or sum(map(str.isdigit, number)) > 2:
            yield line_of(text, found.start()), number


def prose(text: str) -> str:
    """A page's text with spaces instead of its code, so that places and lines stay as they are."""
    return _without(text, _CODE)


def line_of(text: str, position: int) -> int:
    """The number of the line of a position."""
    return text.count("\n", 0, position) + 1


def _without(text: str, patterns: tuple[str, ...]) -> str:
    """A text of the same length, with spaces where a pattern matches."""
    for pattern in patterns:
        text = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S | re.M)
    return text
