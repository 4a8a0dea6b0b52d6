"""The filter's language: what its words ask of a line, what it says where a word cannot be meant, how it goes on."""

import pytest

from pgops.tui.filtering import Term, amount_of, complete, parse, passes, trouble

WORDS = {"id": "4711", "state": "● running", "kind": "send mail", "age": "6m 00s", "size": "–", "hit": "98.0%"}
AMOUNTS = {"id": 4711.0, "age": 360.0, "hit": 0.98}


def test_a_query_is_words_keys_signs_and_nots() -> None:
    assert parse('Mail !kind:x age>=5m error:"no answer" "two words" !"a b" kind:') == (
        Term("Mail", written="Mail"),
        Term("x", "kind", ":", negated=True, written="kind:x"),
        Term("5m", "age", ">=", amount=300.0, written="age>=5m"),
        Term("no answer", "error", written="error:no answer", quoted=True),
        Term("two words", written="two words", quoted=True),
        Term("a b", negated=True, written="a b", quoted=True),
    )


@pytest.mark.parametrize("query", ["", "   ", "!", "!!", "kind:", "!kind:", "age>", '"', 'kind:"'])
def test_what_is_still_being_typed_asks_nothing(query: str) -> None:
    assert parse(query) == ()


@pytest.mark.parametrize(
    ("query", "word"), [("12:30", "12:30"), ("a->b", "a->b"), ("> 5", ">"), ("{x:1}", "{x:1}"), ('"kind:x"', "kind:x")]
)
def test_what_is_no_key_is_a_word(query: str, word: str) -> None:
    assert parse(query)[0].key == ""
    assert parse(query)[0].text == word


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("3", 3), ("1,200", 1200), ("12.5k", 12_500), ("4M", 4e6), ("90%", 0.9), ("350ms", 0.35), ("5m", 300),
        ("5min", 300), ("2h05m", 7500), ("2h 05m", 7500), ("4d", 345_600), ("1MB", 1024**2), ("1mb", 1024**2),
        ("1.5kB", 1536), ("512B", 512), ("", None), ("abc", None), ("5x", None), ("5MB3", None), ("3 4", 34),
        ("-1", None), ("5m3", None), ("1e400", None),
    ],
)  # fmt: skip
def test_amounts(text: str, amount: float | None) -> None:
    assert amount_of(text) == (None if amount is None else pytest.approx(amount))


@pytest.mark.parametrize(
    ("query", "whether"),
    [
        ("", True), ("mail", True), ("MAIL run", True), ("mail nothing", False), ("!mail", False), ("!nothing", True),
        ("kind:mail", True), ("kind:run", False), ("!kind:run", True), ('kind:"send mail"', True),
        ('kind:"send  mail"', False), ("state=running", True), ("state=run", False), ("id=4711", True),
        ("id=47", False), ("age>5m", True), ("age>6m", False), ("age>=6m", True), ("age<6m", False), ("age<=6m", True),
        ("age>5m age<7m", True), ("!age>5m", False), ("size>0", False), ("size<1MB", False), ("!size<1MB", True),
        ("hit>95%", True), ("hit<95%", False), ("kind>3", False), ("age>soon", False), ("nokey:6m", False),
        ("state:● ", True),
    ],
)  # fmt: skip
def test_a_line_passes(query: str, whether: bool) -> None:
    assert passes(parse(query), WORDS, AMOUNTS) is whether


def test_a_key_that_is_not_there_is_a_word_of_its_own() -> None:
    words = {"error": "see http://x/y"}
    assert passes(parse("http://x"), words, {})
    assert not passes(parse("http://z"), words, {})
    assert "no column http," in trouble(parse("http://x"), words, ())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("mail !kind:x age>5m state=dead", ""), ("kid:mail", "no column kid, so “kid:mail” is looked for"),
        ("kid>5", "there are id, kind, age"), ("kind>5", "kind is no number to compare with; kind:5"),
        ("age>soon", "soon is no number; for example age>5m"), ("", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said(query: str, said: str) -> None:
    told = trouble(parse(query), ("id", "kind", "age", "state"), ("id", "age"))
    assert said in told
    assert bool(said) is bool(told)


@pytest.mark.parametrize(
    ("query", "more"),
    [
        ("", None), ("k", "kind:"), ("!k", "!kind:"), ("mail k", "mail kind:"), ("mail ", None), ("kind:", "kind:mail"),
        ("kind:re", "kind:report"), ("kind:RE", "kind:REport"), ("kind:mail", None), ("kind:x", None), ("age>", None),
        ("state=r", "state=running"), ("queue:", 'queue:"two words"'), ('queue:"two', 'queue:"two words"'),
        ("queue:t", None), ("zz", None), ('"k', None), ('queue:"two words"', None),
    ],
)  # fmt: skip
def test_it_goes_on_with_columns_and_values(query: str, more: str | None) -> None:
    values = {"kind": ["mail", "report"], "state": ["running"], "queue": ["two words"]}
    assert complete(query, ["id", "kind", "state", "queue", "age"], values) == more
