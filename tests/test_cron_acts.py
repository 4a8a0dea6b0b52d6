"""Acts on recurring jobs: a preview changes nothing, a run leaves its row, and the commands say both."""

import pytest
from cli_call import Run, caller

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, PgopsError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.actions import Action, preview, run
from pgops.services.cron_rules import new_cron
from pgops.services.queue import AsyncQueue

NIGHTLY = new_cron("nightly", "0 3 * * *", "email", {"full": True}, kind="report", timezone="Europe/Berlin")
ADD = Action("cron_add", "nightly", cron=NIGHTLY)
ACTS = (ADD, *(Action(name, "nightly") for name in ("cron_pause", "cron_resume", "cron_run", "cron_remove")))
EVERYTHING = (
    b"select (select count(*) from pgops.cron), (select bool_or(paused) from pgops.cron), (select max(next_at) from"
    b" pgops.cron), (select count(*) from pgops.job_queue), (select count(*) from pgops.audit)"
)


async def test_previews_change_nothing_and_show_sql_that_runs(db: AsyncPool) -> None:
    for known in (False, True):
        if known:
            await AsyncQueue(db).cron.put(NIGHTLY)
        before = await db.one(EVERYTHING)
        for action in ACTS if known else (ADD,):
            look = await preview(db, action)
            assert (look.action, look.matched) == (action, 1)
            assert "nightly" in look.title
            async with db.transaction() as tx:
                await tx.execute(look.sql.encode())
                await tx.execute(b"delete from pgops.cron")
                await tx.execute(b"delete from pgops.job_available")
                await tx.execute(b"delete from pgops.job_unique")
            if known:
                await AsyncQueue(db).cron.put(NIGHTLY)
        assert (await db.one(EVERYTHING)) == before


async def test_every_act_leaves_its_row(db: AsyncPool) -> None:
    said = [(await run(db, action)) for action in ACTS]
    assert [one.changed for one in said] == [1] * 5
    assert "next at" in said[0].message
    assert "+0" in said[0].message, "in its own time zone"
    assert said[3].more["queue"] == "email"
    rows = await audit.list(db)
    assert [(row.action, row.target, row.status) for row in reversed(rows)] == [
        (action.name, "nightly", "done") for action in ACTS
    ]
    assert rows[1].detail == said[3].more
    assert await AsyncQueue(db).cron.list() == ()
    assert len(await AsyncQueue(db).jobs("email")) == 1


async def test_without_its_row_nothing_is_changed(db: AsyncPool) -> None:
    await AsyncQueue(db).cron.put(NIGHTLY)
    before = await db.one(EVERYTHING)
    await db.execute(b"alter table pgops.audit add constraint nothing_may_be_written check (false) not valid")
    other = new_cron("other", "@daily", "email")
    for action in (*ACTS[1:], Action("cron_add", "other", cron=other)):
        with pytest.raises(PgopsError):
            await run(db, action)
    assert await db.one(EVERYTHING) == before


async def test_what_is_not_there_or_not_said_is_told(db: AsyncPool) -> None:
    await AsyncQueue(db).cron.put(NIGHTLY)
    for action in (Action("cron_pause", "nihgtly"), Action("cron_run", "nihgtly"), Action("cron_remove", "nihgtly")):
        for act in (preview, run):
            with pytest.raises(NotFoundError) as unknown:
                await act(db, action)
            assert "nightly" in unknown.value.hint
    with pytest.raises(UsageError):
        await run(db, Action("cron_add", "x"))


async def test_a_run_while_the_job_before_is_not_done_says_so(db: AsyncPool) -> None:
    await run(db, ADD)
    first = await run(db, Action("cron_run", "nightly"))
    again = await run(db, Action("cron_run", "nightly"))
    assert (again.changed, again.more["id"], again.more["existing"]) == (0, first.more["id"], True)
    assert "not done yet" in again.message


# --- commands --------------------------------------------------------------------------------------------------


@pytest.fixture
def pgops(dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process, against a fresh database."""
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return caller(monkeypatch, capsys)


def test_from_adding_to_removing(pgops: Run) -> None:
    add = ("queue", "cron", "add", "nightly", "0 3 * * *", "--queue", "email", "--kind", "report", "--payload",
           '{"full": true}', "--timezone", "Europe/Berlin", "--missed", "once", "--json")  # fmt: skip
    look = pgops(*add, "--dry-run").document
    assert (look["dry_run"], look["changed"]) == (True, 0)
    assert pgops("queue", "cron", "list", "--json").document["items"] == []
    assert pgops(*add).document["audit_id"] is not None
    (entry,) = pgops("queue", "cron", "list", "--json").document["items"]
    assert (entry["payload"], entry["missed"], entry["paused"]) == ({"full": True}, "once", False)
    assert entry["next_at"].endswith("Z")
    done = pgops("queue", "cron", "run", "nightly", "--json").document
    assert pgops("queue", "show", "email", str(done["id"]), "--json").document["job"]["kind"] == "report"
    assert pgops("queue", "cron", "pause", "nightly").code == 0
    assert pgops("queue", "cron", "list", "--json").document["items"][0]["next_at"] is None
    assert pgops("queue", "cron", "resume", "nightly").code == 0
    assert pgops("queue", "cron", "remove", "nightly").code == 4, "it asks"
    assert pgops("queue", "cron", "remove", "nightly", "--yes").code == 0
    acts = [row["action"] for row in pgops("audit", "list", "--json").document["items"]]
    assert acts == ["cron_remove", "cron_resume", "cron_pause", "cron_run", "cron_add"]


def test_the_next_runs_are_told_in_both_clocks(pgops: Run) -> None:
    items = pgops("queue", "cron", "next", "0 3 * * *", "--timezone", "Asia/Tokyo", "--count", "2", "--json").document
    assert [item["at"][10:] for item in items["items"]] == ["T18:00:00.000Z"] * 2
    assert [item["local"][10:] for item in items["items"]] == ["T03:00:00+09:00"] * 2
    assert "03:00:00 +0900" in pgops("queue", "cron", "next", "0 3 * * *", "--timezone", "Asia/Tokyo").out


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["add", "n", "0 0 30 2 *", "-q", "q"], 2, "never fires"),
        (["add", "n", "0 3 * *", "-q", "q"], 2, "number of fields"),
        (["add", "n", "@daily", "-q", "q", "--timezone", "Europe/Berln"], 2, "Europe/Berlin"),
        (["add", "n", "@daily", "-q", ""], 2, "queue's name"),
        (["add", "n", "@daily"], 2, "--queue"),
        (["add", "n", "@daily", "-q", "q", "--payload", "{"], 2, "not JSON"),
        (["next", "61 * * * *"], 2, "bad minute"),
        (["pause", "nobody"], 5, "no recurring job 'nobody'"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line_and_nothing_is_stored(
    pgops: Run, argv: list[str], code: int, words: str
) -> None:
    done = pgops("queue", "cron", *argv)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err
    assert pgops("queue", "cron", "list", "--json").document["items"] == []
