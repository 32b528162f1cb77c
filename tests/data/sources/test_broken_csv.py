"""Forty broken files of facts: each is refused in one sentence that says where and what."""

from pathlib import Path

import pytest

from mechxl.data.sources.csvfile import read_csv
from mechxl.errors import InputError

HEADER = "entity,relation,value,entity_en,value_en,entity_de,value_de\n"
ROME = "Rome,country,Italy,Rome,Italy,Rom,Italien\n"
OSLO = "Oslo,country,Norway,Oslo,Norway,Oslo,Norwegen\n"
GOOD = HEADER + ROME + OSLO
LONG = "entity,relation,value,language,entity_word,value_word\n"

BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": (b"", "is empty"),
    "white space only": (b" \n\n \n", "is empty"),
    "header only": (HEADER, "holds no fact below its header"),
    "UTF-16, little end first": (GOOD.encode("utf-16"), "is UTF-16, not UTF-8"),
    "UTF-16, big end first": (b"\xfe\xff" + GOOD.encode("utf-16-be"), "is UTF-16, not UTF-8"),
    "UTF-32": (GOOD.encode("utf-32"), "is UTF-32, not UTF-8"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "line 1: holds a NUL byte"),
    "Latin-1": ((GOOD + "Köln,country,D,Cologne,Germany,Köln,D\n").encode("latin-1"), "line 4: byte 0xf6 is not UTF-8"),
    "cp1251": (("x,r,v,Москва,a,b,c\n").encode("cp1251"), "line 1: byte 0xcc is not UTF-8"),
    "damaged before": (GOOD.replace("Rom,", "R\ufffdm,"), "line 2: holds U+FFFD, a sign of damaged encoding"),
    "a second byte order mark": ("\ufeff\ufeff" + GOOD, "line 1: holds U+FEFF"),
    "NUL": (GOOD.replace("Oslo", "Os\0lo"), "line 3: holds a NUL byte"),
    "escape": (GOOD.replace("Oslo", "Os\x1blo"), "line 3: holds U+001B"),
    "a line separator": (GOOD.replace("Norwegen", "Nor\u2028wegen"), "line 3: holds U+2028"),
    "a quotation mark not closed": (GOOD + '"Bern,country,x,a,b,c,d\n', "line 4: a quotation mark is not closed"),
    "text after a quotation mark": (GOOD + '"Bern"x,country,x,a,b,c,d\n', "line 4: text follows a closing quotation"),
    "a line break in a cell": (
        GOOD + '"Be\nrn",country,x,a,b,c,d\n',
        "line 4, column entity: a cell holds a line break",
    ),
    "semicolons": (GOOD.replace(",", ";"), "line 1: columns are separated by commas"),
    "tabs": (GOOD.replace(",", "\t"), "line 1: columns are separated by commas"),
    "a cell too many": (GOOD + "Bern,country,x,a,b,c,d,e\n", "line 4: has 8 cells, but the header has 7"),
    "a cell too few": (GOOD + "Bern,country,x,a,b,c\n", "line 4: has 6 cells, but the header has 7"),
    "a comma not quoted": (GOOD + "Bern,country,x,a,b,c, d,e\n", "quote a cell that holds a comma"),
    "no entity": (GOOD.replace("entity,", "thing,", 1), "column entity: this column is missing"),
    "a column misspelt": (
        GOOD.replace("relation,", "relatoin,", 1),
        "column relation: this column is missing; rename relatoin",
    ),
    "no word of values": (GOOD.replace("value_de", "note"), "column value_de: this column is missing"),
    "no language": ("entity,relation,value\na,b,c\n", "no language is named"),
    "one language": ("entity,relation,value,entity_en,value_en\na,b,c,d,e\n", "facts in two are the least"),
    "an unknown column": (GOOD.replace("entity_de", "capital_de"), "line 1, column entity_de: this column is missing"),
    "a column of something else": (
        GOOD.replace("value_de\n", "value_de,colour\n", 1),
        "column colour: there is no such column",
    ),
    "a header twice": (GOOD.replace("value_de", "value_en"), "column value_en: stands twice in the header"),
    "a header without a name": (GOOD.replace("value_de", ""), "line 1: column 7 has no name"),
    "no code": (GOOD.replace("_de", "_d e"), "column entity_d e: 'd e' is no language's code"),
    "a formula": (GOOD.replace("Rom,", "=A2,"), "line 2, column entity_de: '=A2' is a formula"),
    "a spreadsheet's error": (
        GOOD.replace("Rom,", "#REF!,"),
        "line 2, column entity_de: #REF! is a spreadsheet's error",
    ),
    "a word too long": (
        GOOD.replace("Norwegen", "N" * 201),
        "line 3, column value_de: a word of 201 letters is too long",
    ),
    "a special token": (GOOD.replace("Norwegen", "<eos>"), "line 3, column value_de: '<eos>' holds <eos>"),
    "a mark of tokens": (GOOD.replace("Norwegen", "##a"), "line 3, column value_de: '##a' holds ##"),
    "no value": (GOOD.replace("Oslo,country,Norway", "Oslo,country,"), "line 3, column value: is empty"),
    "a contradiction": (
        GOOD + "Rome,country,Norway,Rome,Norway,Rom,Norwegen\n",
        "line 4, column value: Rome has another country in line 2",
    ),
    "an entity's word twice": (
        GOOD.replace("Oslo,Norwegen", "Rom,Norwegen"),
        "line 3, column entity_de: 'Rom' is the word of Oslo, and of Rome in line 2",
    ),
    "a value's word twice": (
        GOOD.replace("Norwegen", "Italien"),
        "line 3, column value_de: 'Italien' is the word of Norway, and of Italy",
    ),
    "a relation's word twice": (
        "entity,relation,value,entity_en,relation_en,value_en,entity_de,relation_de,value_de\n"
        "a,r,v,a,r,v,a,r,v\na,s,w,a,r,w,a,s,w\n",
        "line 3, column relation_en: 'r' is the word of two relations, r and s",
    ),
    "long, without words": ("entity,relation,value,language\na,b,c,en\n", "column entity_word: this column is missing"),
    "long, without a language": (LONG + "a,b,c,,x,y\n", "line 2, column language: '' is no language's code"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_sentence(name: str, tmp_path: Path):
    content, said = BROKEN[name]
    path = tmp_path / "facts.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as refused:
        read_csv(path)
    sentence = str(refused.value)
    assert said in sentence
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    assert len(sentence.removeprefix(str(path))) < 250


def test_there_are_forty():
    assert len(BROKEN) >= 40


def test_a_line_of_a_gigabyte_is_refused_unread(tmp_path: Path):
    path = tmp_path / "facts.csv"
    with path.open("wb") as file:
        file.truncate(2**30)  # holes: no disk is used, and reading would take seconds
    with pytest.raises(InputError, match=r"can't be read \(it has 1,073,741,824 bytes, more than 67,108,864\)"):
        read_csv(path)


@pytest.mark.parametrize(("made", "said"), [("nothing", "there is no such file"), ("folder", "it is a directory")])
def test_what_is_no_file_is_refused(made: str, said: str, tmp_path: Path):
    path = tmp_path / "facts.csv"
    if made == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=said):
        read_csv(path)
