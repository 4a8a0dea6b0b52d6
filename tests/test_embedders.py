"""Embedders by name: what config.toml may say, what an endpoint may answer, and that no key is ever told."""

import asyncio
import contextlib
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedding_server import Answer, Endpoint, endpoint, said

from pgops.database import AsyncPool
from pgops.embedder_settings import EmbedderSettings
from pgops.errors import EmbedderError, NotFoundError, PgopsError, UnavailableError, UsageError
from pgops.profiles import find_embedder, load_config
from pgops.services import embedder_answer
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import TextRow
from pgops.services.vectors import AsyncVectors
from pgops.sync.database import Pool
from pgops.sync.services.vectors import Vectors

Asked = BaseHTTPRequestHandler
Body = dict[str, Any]
KEY = "sk-test-5f2c9e7d1b3a4860"
TEXTS = ["how to sort a list", "open a socket", "hash a password", "read a file line by line"]
FUNCTIONS = """
import asyncio, threading
from pgops.services.embedders import HashingEmbedder

seen = []

def blocking(texts):
    seen.append((threading.current_thread() is threading.main_thread(), len(texts)))
    return HashingEmbedder(16).embed(texts)

async def patient(texts):
    await asyncio.sleep(0.01)
    return HashingEmbedder(16).embed(texts)

def fails(texts):
    raise RuntimeError("the model is gone\\nand more")

def nothing(texts):
    return None

def one_less(texts):
    return HashingEmbedder(16).embed(texts)[1:]

def words(texts):
    return ["abc" for _ in texts]

not_a_function = 5
"""


@pytest.fixture
def there() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config.toml of this test; nothing stands between us and 127.0.0.1."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "pgops").mkdir()
    return tmp_path / "pgops" / "config.toml"


@pytest.fixture
def openai(config: Path, there: Endpoint) -> Endpoint:
    """The embedder openai, at this endpoint."""
    write(config, there.url)
    return there


def write(config: Path, url: str, **more: object) -> None:
    settings = {"url": f'"{url}"', "model": '"m-small"', "api_key_env": '"TEST_KEY"', "timeout_s": 5} | more
    lines = [f"{name} = {value}" for name, value in settings.items() if value is not None]
    config.write_text("\n".join(["[embedders.openai]", *lines]))


@pytest.fixture
def functions_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of functions in the current folder, forgotten afterwards."""
    path = tmp_path / f"functions_{tmp_path.name.replace('-', '_')}.py"
    path.write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield path
    for name in (path.stem, "slow_functions"):
        sys.modules.pop(name, None)


@pytest.fixture
def functions(config: Path, functions_file: Path, openai: Endpoint) -> str:
    """Embedders named after the functions of this module; openai is there too."""
    names = ("blocking", "patient", "fails", "nothing", "one_less", "words", "missing", "not_a_function")
    with config.open("a") as file:
        for name in names:
            file.write(f'\n[embedders.{name}]\nfunction = "{functions_file.stem}:{name}"\nbatch = 3')
        file.write('\n[embedders.elsewhere]\nfunction = "no_such_module:f"')
    return functions_file.stem


@pytest.fixture
def slow(openai: Endpoint, config: Path, functions_file: Path) -> str:
    """An embedder that takes a second to import and another to embed; openai is there too."""
    lines = FUNCTIONS.replace("def blocking(texts):", "def blocking(texts):\n    time.sleep(1)")
    functions_file.with_name("slow_functions.py").write_text(f"import time\ntime.sleep(1)\n{lines}")
    with config.open("a") as file:
        file.write('\n[embedders.slow]\nfunction = "slow_functions:blocking"')
    return "slow"


async def collection(db: AsyncPool, embedder: str | None = "openai", dimensions: int = 16) -> AsyncVectors:
    vectors = AsyncVectors(db)
    await vectors.create("docs", dimensions, embedder=embedder)
    return vectors


def check_no_key(error: BaseException) -> None:
    """Neither what is said nor what a traceback prints has the key or a telling part of it."""
    told = "".join(traceback.format_exception(error)) + repr(error) + str(getattr(error, "hint", ""))
    assert KEY not in told
    assert KEY[:10] not in told and KEY[-10:] not in told


# --- config.toml -------------------------------------------------------------------------------------------------


def test_what_config_says_of_an_embedder(config: Path) -> None:
    write(config, "https://api.openai.com/v1", dimensions=256, timeout_s=2.5, batch=7)
    assert find_embedder("openai", {"XDG_CONFIG_HOME": str(config.parent.parent)}) == EmbedderSettings(
        "openai", "https://api.openai.com/v1", "m-small", "TEST_KEY", None, 256, 2.5, 7
    )
    config.write_text('[embedders.mine]\nfunction = "my.module:embed"\n[profiles.local]\ndsn = "host=x"')
    assert load_config(config).embedders["mine"] == EmbedderSettings("mine", function="my.module:embed")


URL = 'url = "https://a"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("embedders = 3", "embedders are tables"),
        ("[embedders]\nx = 3", "embedder x is a table"),
        ("[embedders.hashing]\nfunction = 'a:b'", "built in"),
        ("[embedders.'a b']\nfunction = 'a:b'", "no name of an embedder"),
        ("[embedders.'os:system']\nfunction = 'a:b'", "no name of an embedder"),
        ("[embedders.x]", "either a url or a function"),
        (f"[embedders.x]\n{URL}function = 'a:b'", "either a url or a function"),
        ("[embedders.x]\nurl = 'https://a'", "no model"),
        ("[embedders.x]\nmodel = 'm'\nurl = 'ftp://a'", "http or https"),
        ("[embedders.x]\nmodel = 'm'\nurl = 'a'", "http or https"),
        (f"[embedders.x]\nmodel = 'm'\nurl = 'https://me:{KEY}@a'", "without user"),
        (f"[embedders.x]\nmodel = 'm'\nurl = 'https://a/?key={KEY}'", "without user"),
        ("[embedders.x]\nmodel = 'm'\nurl = 'https://[a'", "http or https"),
        (f"[embedders.x]\n{URL}api_key = '{KEY}'", "no setting api_key"),
        (f"[embedders.x]\n{URL}api_key_env = '{KEY}'", "no name of an environment variable"),
        (f"[embedders.x]\n{URL}api_key_env = 'sk_{KEY[-10:]}'", "no name of an environment variable"),
        (f"[embedders.x]\n{URL}modle = 'm'", "no setting modle"),
        (f"[embedders.x]\n{URL}dimensions = '3'", "dimensions of embedder x is a whole number"),
        (f"[embedders.x]\n{URL}dimensions = true", "dimensions of embedder x is a whole number"),
        (f"[embedders.x]\n{URL}dimensions = 0", "1 to 16,000"),
        (f"[embedders.x]\n{URL}timeout_s = 0", "timeout_s"),
        (f"[embedders.x]\n{URL}timeout_s = nan", "timeout_s"),
        (f"[embedders.x]\n{URL}timeout_s = '5'", "timeout_s of embedder x is a number"),
        (f"[embedders.x]\n{URL}batch = 0", "batch"),
        (f"[embedders.x]\n{URL}batch = 1.5", "batch of embedder x is a whole number"),
        ("[embedders.x]\nfunction = 'os.system'", "not module:function"),
        ("[embedders.x]\nfunction = 'os:system()'", "not module:function"),
        ("[embedders.x]\nfunction = 'a:b'\nmodel = 'm'", "to which model says nothing"),
    ],
)
def test_what_is_wrong_in_config_is_one_clear_line_without_its_value(config: Path, text: str, words: str) -> None:
    config.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        load_config(config)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    check_no_key(caught.value)


@pytest.mark.vectors
async def test_an_unknown_name_is_refused_with_what_is_near(openai: Endpoint, db: AsyncPool) -> None:
    vectors = AsyncVectors(db)
    for name, near in (("opanai", "openai"), ("hash", "hashing"), ("zzz", "config.toml")):
        with pytest.raises(UsageError, match="no embedder") as caught:
            await vectors.create("docs", 16, embedder=name)
        assert near in caught.value.hint
    assert await vectors.list() == ()
    await vectors.create("docs", 16, embedder="openai")
    for call in (vectors.search_text("docs", "x", embedder="opanai"), vectors.add_texts("docs", ["x"], embedder="no"),
                 vectors.set_embedder("docs", "opanai")):  # fmt: skip
        with pytest.raises(UsageError, match="no embedder"):
            await call
    assert (await vectors.get("docs")).embedder == "openai"


@pytest.mark.vectors
async def test_dimensions_that_cannot_fit_are_refused_when_the_name_is_given(config: Path, db: AsyncPool) -> None:
    write(config, "http://127.0.0.1:1", dimensions=256)
    vectors = AsyncVectors(db)
    with pytest.raises(UsageError, match="256 dimensions, not 16"):
        await vectors.create("docs", 16, embedder="openai")
    await vectors.create("docs", 16)
    with pytest.raises(UsageError, match="256 dimensions, not 16"):
        await vectors.set_embedder("docs", "openai")


@pytest.mark.vectors
async def test_the_database_names_no_code(db: AsyncPool, dsn: str) -> None:
    await collection(db, "hashing")
    with psycopg.connect(dsn, autocommit=True) as conn:
        for name in ("os:system", "http://evil.example", "", "a b", "x" * 61):
            with pytest.raises(psycopg.errors.CheckViolation):
                conn.execute("update pgops.vector_collections set embedder = %s", [name])
        conn.execute("update pgops.vector_collections set embedder = 'os.system'")
    with pytest.raises(UsageError, match=r"no embedder 'os\.system'"):
        await AsyncVectors(db).search_text("docs", "x")


# --- which one ---------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_a_collection_without_an_embedder_says_how_to_get_one(db: AsyncPool) -> None:
    vectors = await collection(db, None)
    for call in (vectors.search_text("docs", "x"), vectors.add_texts("docs", ["x"])):
        with pytest.raises(UsageError, match="has no embedder") as caught:
            await call
        assert "--embedder" in caught.value.hint and "set-embedder docs" in caught.value.hint
    assert await vectors.add_texts("docs", TEXTS, embedder="hashing") == 4
    assert (await vectors.set_embedder("docs", "hashing")).embedder == "hashing"
    assert (await vectors.search_text("docs", TEXTS[1]))[0].content == TEXTS[1]
    assert (await vectors.set_embedder("docs", None)).embedder is None
    with pytest.raises(NotFoundError):
        await vectors.set_embedder("dosc", "hashing")


@pytest.mark.vectors
async def test_rows_of_text_keep_their_metadata_and_ids(db: AsyncPool) -> None:
    vectors = await collection(db, "hashing")
    rows = [TextRow("one", {"category": "a"}, id=7), TextRow("two", {"category": "b"}, id=9)]
    assert await vectors.add_texts("docs", rows) == 2
    (found,) = await vectors.search_text("docs", "one", filter={"category": "b"})
    assert (found.id, found.content, found.metadata) == (9, "two", {"category": "b"})
    assert await vectors.add_texts("docs", []) == 0


@pytest.mark.vectors
async def test_what_cannot_be_a_row_or_a_query_is_refused_before_anyone_is_asked(
    openai: Endpoint, db: AsyncPool
) -> None:
    vectors = await collection(db)
    bad: list[Any] = ["nul\0", "half\ud800", 5, None, TextRow("x", {"n": float("nan")}), TextRow("x", id=0)]
    for row in bad:
        with pytest.raises(UsageError):
            await vectors.add_texts("docs", [row])
    with pytest.raises(UsageError, match="some rows"):
        await vectors.add_texts("docs", [TextRow("x", id=1), "y"])
    for text, more in (("half\ud800", {}), ("x", {"limit": 0}), ("x", {"probes": 0}), ("x", {"filter": {"n": {1}}})):
        arguments: dict[str, Any] = more
        with pytest.raises(UsageError):
            await vectors.search_text("docs", text, **arguments)
    assert openai.asked == []


class Mine:
    """An embedder of the application's own."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.sizes.append(len(texts))
        return HashingEmbedder(16).embed(texts)


class Async(Mine):
    async def embed(self, texts: Sequence[str]) -> list[list[float]]:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().embed(texts)


@pytest.mark.vectors
async def test_an_object_that_embeds_is_an_embedder_async_or_not(db: AsyncPool) -> None:
    vectors = await collection(db, None)
    for mine in (Mine(), Async()):
        assert await vectors.add_texts("docs", [f"text {n}" for n in range(250)], embedder=mine) == 250
        assert mine.sizes == [100, 100, 50]
        assert (await vectors.search_text("docs", "text 7", embedder=mine))[0].content == "text 7"
    with pytest.raises(UsageError, match="no embedder"):
        await vectors.search_text("docs", "x", embedder=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="name"):
        await vectors.create("more", 16, embedder=Mine())  # type: ignore[arg-type]


# --- functions ---------------------------------------------------------------------------------------------------


@pytest.mark.vectors
@pytest.mark.parametrize("name", ["blocking", "patient"])
async def test_a_function_of_config_embeds_in_batches(functions: str, db: AsyncPool, name: str) -> None:
    vectors = await collection(db, name)
    assert await vectors.add_texts("docs", TEXTS) == 4
    assert (await vectors.search_text("docs", TEXTS[2]))[0].content == TEXTS[2]
    if name == "blocking":
        assert sys.modules[functions].seen == [(False, 3), (False, 1), (False, 1)], "in threads, three at a time"


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("fails", EmbedderError, "RuntimeError: the model is gone$"),
        ("nothing", EmbedderError, "NoneType"),
        ("one_less", EmbedderError, "2 vectors for 3 texts"),
        ("words", EmbedderError, "embedder words: an embedding is a list of numbers"),
        ("missing", UsageError, "has no function missing"),
        ("not_a_function", UsageError, "has no function not_a_function"),
        ("elsewhere", UsageError, "no_such_module cannot be imported"),
    ],
)
async def test_a_function_that_fails_changes_nothing(
    functions: str, db: AsyncPool, name: str, error: type[PgopsError], words: str
) -> None:
    vectors = await collection(db, name)
    with pytest.raises(error, match=words) as caught:
        await vectors.add_texts("docs", TEXTS)
    assert caught.value.hint
    assert (await vectors.get("docs")).rows == 0


# --- an endpoint -------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_an_endpoint_is_asked_in_batches_and_answers_in_any_order(
    config: Path, there: Endpoint, db: AsyncPool
) -> None:
    write(config, f"{there.url}/", dimensions=16, batch=3)
    vectors = await collection(db)
    assert await vectors.add_texts("docs", TEXTS) == 4
    assert [len(asked["input"]) for asked in there.asked] == [3, 1]
    assert there.asked[0] == {"model": "m-small", "input": TEXTS[:3], "dimensions": 16}
    assert {headers["authorization"] for headers in there.headers} == {f"Bearer {KEY}"}
    for text in TEXTS:
        assert (await vectors.search_text("docs", text))[0].content == text
    write(config, there.url, api_key_env=None)
    await vectors.search_text("docs", "x")
    assert "authorization" not in there.headers[-1] and "dimensions" not in there.asked[-1]


def good(**changes: object) -> dict[str, Any]:
    """An answer of one vector of 16 numbers, changed."""
    return {"data": [{"index": 0, "embedding": [1.0] * 16, **changes}]}


def truncated(handler: Asked, body: Body) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True


def hung_up(handler: Asked, body: Body) -> None:
    handler.close_connection = True


ANSWERS: list[tuple[str, Answer, str]] = [
    ("401", said(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), "401 Unauthorized$"),
    ("403", said(403, b"no"), "403 Forbidden$"),
    ("400", said(400, {"error": {"message": f"bad 'Bearer {KEY}' {KEY[:12]}*** ok"}}), r"bad 'Bearer \*+ \*+ ok"),
    ("422", said(422, {"detail": "x" * 5_000}), "422 Unprocessable"),
    ("404", said(404, b"<html>"), "404 Not Found$"),
    ("301", said(301, b"", location="http://127.0.0.1:1/"), "301"),
    ("299 in HTML", said(200, b"<html>"), "not JSON"),
    ("cut JSON", said(200, b'{"data": [{"embed'), "not JSON"),
    ("deep JSON", said(200, b"[" * 200_000), "not JSON"),
    ("no UTF-8", said(200, b"\xff\xfe\xff"), "not JSON"),
    ("no data", said(200, {"object": "list"}), "without data"),
    ("a list", said(200, [1]), "without data"),
    ("no embedding", said(200, {"data": [{"index": 0}]}), "without data"),
    ("two", said(200, {"data": [good()["data"][0]] * 2}), "2 vectors for 1 texts"),
    ("none", said(200, {"data": []}), "0 vectors for 1 texts"),
    ("index", said(200, good(index=1)), "whose text"),
    ("index text", said(200, good(index="0")), "whose text"),
    ("NaN", said(200, good(embedding=[float("nan"), *[1.0] * 15])), "NaN"),
    ("infinity", said(200, good(embedding=[float("inf"), *[1.0] * 15])), "infinity"),
    ("too large", said(200, good(embedding=[1e300] * 16)), "32 bits"),
    ("zero", said(200, good(embedding=[0.0] * 16)), "zero vector"),
    ("words", said(200, good(embedding="AACAPwAAgD8=")), "list of numbers"),
    ("null", said(200, good(embedding=None)), "list of numbers"),
    ("8 dimensions", said(200, good(embedding=[1.0] * 8)), "8 dimensions, the collection 16"),
    ("too much", said(200, b" " * 700_000), "more than vectors can be"),
    ("truncated", truncated, "no whole answer"),
    ("hung up", hung_up, "no whole answer"),
]  # fmt: skip


@pytest.mark.vectors
@pytest.mark.parametrize(("answer", "words"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
async def test_an_answer_that_is_none_is_one_clear_error_and_changes_nothing(
    openai: Endpoint, db: AsyncPool, answer: Answer, words: str
) -> None:
    vectors = await collection(db)
    for call in (vectors.add_texts("docs", ["a text"]), vectors.search_text("docs", "a text")):
        openai.script[:] = [answer]
        with pytest.raises(EmbedderError, match=words) as caught:
            await call
        assert caught.value.hint
        assert len(str(caught.value)) < 400
        check_no_key(caught.value)
    assert len(openai.asked) == 2, "what does not pass is not tried again"
    assert (await vectors.get("docs")).rows == 0


@pytest.mark.vectors
async def test_an_answer_without_places_counts_as_it_stands(openai: Endpoint, db: AsyncPool) -> None:
    vectors = await collection(db)
    vector = HashingEmbedder(16).embed(["a"])[0]
    openai.script[:] = [said(200, {"data": [{"embedding": vector}]})]
    assert await vectors.add_texts("docs", ["a"]) == 1


@pytest.mark.vectors
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_tried_again(openai: Endpoint, db: AsyncPool, status: int) -> None:
    vectors = await collection(db)
    openai.script[:] = [said(status, b"", retry_after="0"), said(status, b"no", retry_after="0")]
    assert await vectors.add_texts("docs", TEXTS) == 4
    assert len(openai.asked) == 3


@pytest.mark.vectors
async def test_trying_again_waits_as_asked_and_ends(openai: Endpoint, db: AsyncPool) -> None:
    vectors = await collection(db)
    openai.script[:] = [said(429, b"", retry_after="1")]
    began = time.monotonic()
    await vectors.search_text("docs", "x")
    assert 1.0 <= time.monotonic() - began < 4
    openai.asked.clear()
    openai.script[:] = [said(503, {"error": "busy"}, retry_after="0")] * 5
    with pytest.raises(EmbedderError, match=r"503 Service Unavailable, 3 times: busy"):
        await vectors.search_text("docs", "x")
    assert len(openai.asked) == 3
    openai.asked.clear()
    openai.script[:] = [said(429, {"error": {"message": f"quota of {KEY}"}}, retry_after="60")]
    with pytest.raises(EmbedderError, match=r"429 Too Many Requests: quota of \*\*\*") as caught:
        await vectors.search_text("docs", "x")
    assert "in 60 s" in caught.value.hint
    assert len(openai.asked) == 1, "longer than an answer may take is not waited for"


@pytest.mark.vectors
async def test_an_answer_that_does_not_come_ends_in_time(config: Path, there: Endpoint, db: AsyncPool) -> None:
    write(config, there.url, timeout_s=0.4)
    vectors = await collection(db)

    def never(handler: Asked, body: Body) -> None:
        there.over.wait(20)

    def drips(handler: Asked, body: Body) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "500")
        handler.end_headers()
        while not there.over.wait(0.1):
            handler.wfile.write(b" ")

    for answer in (never, drips):
        there.script[:] = [answer]
        began = time.monotonic()
        with pytest.raises(EmbedderError, match=r"within 0\.4 s") as caught:
            await vectors.search_text("docs", "x")
        assert time.monotonic() - began < 3
        check_no_key(caught.value)


@pytest.mark.vectors
async def test_where_nobody_listens_the_address_is_told(config: Path, db: AsyncPool) -> None:
    write(config, "http://127.0.0.1:1/v1")
    vectors = await collection(db)
    with pytest.raises(EmbedderError, match="no whole answer") as caught:
        await vectors.search_text("docs", "x")
    assert "http://127.0.0.1:1/v1" in caught.value.hint
    check_no_key(caught.value)


@pytest.mark.vectors
@pytest.mark.parametrize("key", [None, "", "  ", f"{KEY}\nX-More: 1", f"{KEY} more", f"{KEY}ü"])
async def test_a_variable_without_a_key_is_named_and_its_value_is_not(
    openai: Endpoint, db: AsyncPool, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    vectors = await collection(db)
    if key is None:
        monkeypatch.delenv("TEST_KEY")
    else:
        monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(UsageError, match="TEST_KEY") as caught:
        await vectors.search_text("docs", "x")
    check_no_key(caught.value)
    assert openai.asked == []


@pytest.mark.vectors
async def test_without_the_extra_it_is_named(openai: Endpoint, db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = await collection(db)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(UnavailableError, match="httpx") as caught:
        await vectors.search_text("docs", "x")
    assert "pgops[embedders]" in caught.value.hint
    assert (await vectors.search_text("docs", "x", embedder="hashing")) == ()


@pytest.mark.vectors
async def test_the_loop_goes_on_while_an_embedder_is_asked(slow: str, openai: Endpoint, db: AsyncPool) -> None:
    vectors = await collection(db, slow)

    def waits(handler: Asked, body: Body) -> None:
        openai.over.wait(1.0)
        said(200, openai.embedded(body["input"]))(handler, body)

    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)

    openai.script[:] = [waits]
    ticking = asyncio.create_task(tick())
    await vectors.search_text("docs", "x")
    await vectors.search_text("docs", "x", embedder="openai")
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    assert longest < 0.8


@pytest.mark.vectors
async def test_the_blocking_twin_does_the_same(functions: str, openai: Endpoint, dsn: str) -> None:
    def use() -> None:
        with Pool.open(dsn) as db:
            vectors = Vectors(db)
            vectors.create("docs", 16, embedder="openai")
            assert vectors.add_texts("docs", TEXTS) == 4
            openai.script[:] = [said(429, b"", retry_after="0")]
            assert vectors.search_text("docs", TEXTS[0])[0].content == TEXTS[0]
            for embedder in ("hashing", "patient", Mine(), Async()):
                assert vectors.search_text("docs", TEXTS[3], embedder=embedder)[0].content == TEXTS[3]
            openai.script[:] = [truncated]
            with pytest.raises(EmbedderError, match="no whole answer"):
                vectors.add_texts("docs", TEXTS)

    use()
    await asyncio.to_thread(use_again, dsn)


def use_again(dsn: str) -> None:
    """From a thread without a loop."""
    with Pool.open(dsn) as db:
        assert len(Vectors(db).search_text("docs", "x", embedder=Async())) == 4


def test_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    cases = [
        ("7", 7.0), (" 0 ", 0.0), ("Sun, 01 Mar 2026 12:00:09 GMT", 9.0), ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None), ("", None), (None, None), ("-3", None), ("1.5", None), ("9" * 400, 999_999_999.0),
    ]  # fmt: skip
    for header, seconds in cases:
        assert embedder_answer.retry_after(header, now) == seconds, header
