"""Why jobs died: fingerprints of errors, and dead letters grouped by them in library, command and dashboard."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cli_call import caller
from dashboard_story import SMALL, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource
from test_findings import QUEUE, WELL

from pgops import Pgops
from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act.actions import Action
from pgops.ops.collector import Collector, collect
from pgops.ops.judge.findings import judge
from pgops.ops.observe.snapshot import items
from pgops.services.error_rules import fingerprint, trend_of
from pgops.services.models import FailedJob, FailureGroup
from pgops.services.queue import AsyncQueue


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("TimeoutError: no answer after 30.5 s", "TimeoutError: no answer after ? s"),
        ("KeyError: 'user_42'", "KeyError: ?"),
        ("OSError: [Errno 111] connect to ('10.0.0.7', 5432)", "OSError: [Errno 111] connect to (?)"),
        ("HTTP 503 from https://api.x.org/users/a81bc81b/orders?id=7&x=9", "HTTP 503 from https://api.x.org/users/?/orders?"),
        ('UniqueViolation: "orders_pkey" DETAIL: Key (id)=(5)', "UniqueViolation: ? DETAIL: Key (id)=(?)"),
        ("job 7f9c1b2e-1111-2222-3333-444455556666 at 2026-01-01T10:11:12.5Z: 0xdeadbeef", "job ? at ?: ?"),
        ("can't open /var/tmp/job-123/out.csv: (1,024 kB)", "can't open /var/tmp/?/out.csv: (? kB)"),
        ("ids 1, 2, 3 and\n  [4] missing", "ids ? and [?] missing"),
        ("ann.b+c@example.org bounced the facade", "? bounced the facade"),
        ("commit 0a1b2c3d4e5f is unknown", "commit ? is unknown"),
        ("it's the user's own", "it's the user's own"),
        (" \n\t", "(no text)"),
        ("x" * 900, "x" * 200),
    ],
)  # fmt: skip
def test_what_differs_from_job_to_job_is_taken_out(error: str, told: str) -> None:
    assert fingerprint(error) == told
    assert fingerprint(told) == told or len(told) == 200, "what is left stands"


async def die(queue: AsyncQueue, name: str, *errors: str, kind: str = "send") -> list[int]:
    ids = []
    for error in errors:
        ids.append(await queue.enqueue(name, {}, kind=kind, max_attempts=1))
        await queue.claim(name, owner=1, token=7, limit=1)
        await queue.fail(name, 7, [FailedJob(ids[-1], error)])
    return ids


def test_what_is_kept_survives_a_cut_through_it() -> None:
    """An address may begin in the middle of what was put aside."""
    assert fingerprint(f"errno 5:{'a' * 78}@x.com errno 6") == "k? errno 6"


def test_a_trend_counts_the_last_two_hours_by_ten_minutes() -> None:
    now = datetime(2026, 3, 1, 3, tzinfo=UTC)
    died = [now + timedelta(minutes=1), now, *(now - timedelta(minutes=ago) for ago in (9, 10, 11, 119, 120, 9_999))]
    assert trend_of(died, now) == (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3)


async def test_dead_letters_stand_in_groups_and_a_group_starts_over(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    slow = await die(queue, "email", *(f"TimeoutError: no answer after {n}.5 s" for n in range(8)))
    odd = await die(queue, "email", *(f"KeyError: 'user_{n}'" for n in range(3)), kind="receipt")
    await die(queue, "mail", "ValueError: no")
    first, second, third = await queue.failures()
    assert (first.fingerprint, first.jobs, first.of, first.exact) == ("TimeoutError: no answer after ? s", 8, 11, {})
    assert first.ids == tuple(reversed(slow))
    assert (first.sample, first.sample_id) == ("TimeoutError: no answer after 7.5 s", slow[-1])
    assert first.first_at < first.last_at
    assert first.trend == (0,) * 11 + (8,)
    assert (second.kind, second.ids, third.queue) == ("receipt", tuple(reversed(odd)), "mail")
    capped = await queue.failures("email", cap=4)
    assert [(one.jobs, one.of, one.exact.get("jobs")) for one in capped] == [(3, 4, False), (1, 4, False)]
    assert [job.id for job in await queue.dead_jobs("email", odd)] == list(reversed(odd))
    with pytest.raises(NotFoundError, match="no queue 'emial'"):
        await queue.failures("emial")
    with pytest.raises(UsageError, match="a cap is 1 to"):
        await queue.failures(cap=0)

    snapshot = await collect(db)
    (found,) = [one for one in snapshot.findings if one.code == "queue.dead" and one.target == "email"]
    assert "11 dead letters; 8 of 11: TimeoutError: no answer after ? s; 3: KeyError: ?" in found.evidence
    assert "pgops queue failures -q email" in found.remedy
    assert {one.ids for one in items(snapshot.failures)} == {()}, "a snapshot has no lists of ids"

    assert await queue.requeue_dead("email", second.ids) == 3
    assert [one.jobs for one in await queue.failures("email")] == [8]
    await queue.discard_dead("email")
    await queue.discard_dead("mail")
    snapshot = await Collector(db).collect()
    assert (snapshot.failures, [one.code for one in snapshot.findings if one.code == "queue.dead"]) == ((), [])


def test_the_command_groups_them_and_its_ids_are_what_requeue_takes(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pgops.open(dsn) as pg:
        for number in range(3):
            job = pg.queue.enqueue("email", {}, kind="receipt", max_attempts=1)
            pg.queue.claim("email", owner=1, token=7, limit=1)
            pg.queue.fail("email", 7, [FailedJob(job, f"KeyError: 'user_{number}'")])
    monkeypatch.setenv("PGOPS_DSN", dsn)
    command = caller(monkeypatch, capsys)
    group = command("queue", "failures", "--queue", "email", "--json").document["items"][0]
    assert (group["fingerprint"], group["jobs"], len(group["ids"])) == ("KeyError: ?", 3, 3)
    assert "KeyError: ?" in command("queue", "failures").out
    assert command("queue", "failures", "--queue", "nope").code == 5
    done = command("queue", "requeue", "email", *map(str, group["ids"]), "--dead", "--yes", "--json").document
    assert done["changed"] == 3


async def test_a_look_at_many_dead_letters_stops_at_its_cap(db: AsyncPool) -> None:
    await AsyncQueue(db).enqueue("email", {})
    await db.execute(
        b"insert into pgops.job_dead (queue, id, priority, attempt, kind, payload, errors, created_at)"
        b" select 'email', n, 2, 1, 'send', '{}', jsonb_build_array(jsonb_build_object('error', 'no ' || n)), now()"
        b" from generate_series(1, 5000) as n"
    )
    await db.execute(b"insert into pgops.queue_delta (queue, dead) values ('email', 5000)")
    snapshot = await collect(db)
    (group,) = items(snapshot.failures)
    assert (group.jobs, group.of, group.fingerprint) == (200, 200, "no ?")
    assert group.exact == {"jobs": False, "of": False, "first_at": False, "trend": False}
    (found,) = [one for one in snapshot.findings if one.code == "queue.dead"]
    assert "5,000 dead letters; 200 of the newest 200: no ?" in found.evidence


def test_without_a_look_at_them_the_finding_says_only_how_many() -> None:
    seen = FailureGroup("other", "send", "no", 1, 1, WELL.taken_at, WELL.taken_at, "no", 1)
    found = judge(replace(WELL, queues=(replace(QUEUE, dead=3),), failures=(seen,)))
    assert [one.evidence for one in found] == ["3 dead letters"]


async def test_the_dashboard_opens_a_group_and_acts_on_all_of_it() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, SMALL) as pilot:
        await pilot.press("2", "f")
        await until(pilot, lambda: "SMTPServerDisconnected: co…" in screen(pilot))
        assert "▃         ▃█ 3 in 10 min · job 90104: SMTPServerDisconnected" in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "90104" in screen(pilot) and "90100" in screen(pilot))
        await pilot.press("escape", "D")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed[-1] == Action("discard_dead", "email", tuple(range(90_104, 90_099, -1)))
        await pilot.press("escape", "R", "enter")
        await until(pilot, lambda: source.previewed[-1].name == "requeue_dead")
        await pilot.press("escape", "R", "down", "enter")
        await until(pilot, lambda: source.previewed[-1].name == "requeue_ladder")
