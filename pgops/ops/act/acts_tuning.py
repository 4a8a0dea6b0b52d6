"""How our tables that change all the time are stored and vacuumed, and what the server has counted.

Floor 3, under actions.py and previews.py. TUNED is what the schema sets; the act sets again what differs, and can be
undone. Counters that are reset are gone.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import PgopsError, RefusedError, UsageError
from pgops.ops.act import audit, keeping
from pgops.ops.act.acting import Action, ActionName, Preview, shown
from pgops.ops.act.actions_jobs import Done
from pgops.ops.act.relations import Q, Table, refuse_standby, table_of
from pgops.ops.wording import many
from pgops.services.models import JsonValue

Options = Mapping[str, str | None]
_BUSY: Options = {"autovacuum_vacuum_scale_factor": "0.01", "autovacuum_vacuum_cost_delay": "0"}
_STORE: Options = {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0"}
_ROOMY: Options = {"fillfactor": "50"}
# What none of them has: it would keep vacuum away for longer than they can bear.
_NONE: Options = {"autovacuum_enabled": None, "autovacuum_vacuum_threshold": None}
TUNED: Mapping[str, Options] = {
    name: {**_NONE, **options}
    for names, options in (
        (("job_available", "job_scheduled", "job_waiting", "queue_delta"), _BUSY),
        (("job_running", "subscription_parts"), {**_ROOMY, **_BUSY}),
        (("queues", "queue_limit", "job_group", "workers", "queue_total", "cron", "relays"), _ROOMY),
        (("cache_namespaces", "cache_stats", "growth_look", "growth_turn", "limit_stats", "recall_before"), _ROOMY),
        (("growth",), {"fillfactor": "70"}),
        (("rate_limits", "rate_windows"), {**_ROOMY, **_STORE}),
        (("cache_store", "kv_store", "kv_ephemeral"), {"fillfactor": "80", **_STORE}),
    )
    for name in names
}


@dataclass(frozen=True, slots=True)
class Retuned:
    """A table with options that differ: as they are and as they will be, None where they are not set."""

    table: str
    owned: bool
    before: Options
    after: Options

    def statements(self) -> tuple[sql.Composed, ...]:
        return statements(self.table, self.after)


async def preview_tune(db: AsyncPool, action: Action) -> Preview:
    await refuse_standby(db)
    _check_whole(action)
    found = await _differing(db)
    for one in found:
        _check_owned(one)
    return Preview(
        action=action,
        title="set how tables that change all the time are vacuumed and filled",
        matched=len(found),
        exact=True,
        samples=tuple(f"{one.table}: {_changes(one)}" for one in found),
        sql=";\n".join(statement.as_string(None) for one in found for statement in one.statements()),
        warning="takes SHARE UPDATE EXCLUSIVE on each for a moment, and gives up after 3 s behind a vacuum; what is"
        " stored already is not written anew"
        if found
        else "",
        undo=await keeping.can(db) if found else "",
    )


async def tune(db: AsyncPool, action: Action) -> Done:
    await refuse_standby(db)
    _check_whole(action)
    async with db.transaction() as tx:
        found = await _differing(tx)
        act = await keeping.begin(tx) if found else None
        for one in found:
            _check_owned(one)
            await set_options(tx, one.table, one.after)
            before, after = ({"table": one.table, "options": {**side}} for side in (one.before, one.after))
            await keeping.keep_value(tx, act, "pg_class", before, after)
        detail: dict[str, JsonValue] = {one.table: {"before": {**one.before}, "after": {**one.after}} for one in found}
        audit_id = await audit.record(
            tx, action.name, action.target, matched=len(found), changed=len(found), detail=detail, id=act,
            undo_days=None if act is None else keeping.KEEP_DAYS,
        )  # fmt: skip
    return Done(len(found), len(found), audit_id, f"set the storage of {many(len(found), 'table')}", act is not None)


async def set_options(tx: AsyncDatabase, table: str, wanted: Options) -> None:
    """Set storage parameters of one of our tables; None takes one away. Raises RefusedError where a vacuum holds it."""
    try:
        await tx.execute(Q["limit_lock_wait"])
        for statement in statements(table, wanted):
            await tx.execute(statement)
    except PgopsError as error:
        if getattr(error.__cause__, "sqlstate", None) != "55P03":
            raise
        raise RefusedError(
            f"table {table} is being vacuumed, or a long transaction holds it", "try again later"
        ) from error


def statements(table: str, wanted: Options) -> tuple[sql.Composed, ...]:
    """What sets these options of one of our tables."""
    name = sql.Identifier("pgops", table)
    values = [
        sql.SQL("{} = {}").format(sql.Identifier(one), sql.Literal(value))
        for one, value in wanted.items()
        if value is not None
    ]
    gone = [sql.Identifier(one) for one, value in wanted.items() if value is None]
    found = []
    if values:
        found.append(sql.SQL(Q["set_options"].decode()).format(table=name, options=sql.SQL(", ").join(values)))
    if gone:
        found.append(sql.SQL(Q["reset_options"].decode()).format(table=name, names=sql.SQL(", ").join(gone)))
    return tuple(found)


async def options_now(db: AsyncDatabase, tables: list[str]) -> dict[str, tuple[dict[str, str], bool]]:
    """The storage parameters of our tables of these names, and whether this role owns them."""
    rows = await db.all(Q["churn_tables"], {"names": tables})
    return {name: (dict(one.split("=", 1) for one in options), owned) for _, name, options, owned in rows}


def same(one: str | None, other: str | None) -> bool:
    """Whether two values of an option mean the same."""
    try:
        return one == other or (one is not None and other is not None and float(one) == float(other))
    except ValueError:
        return one == other


async def preview_reset(db: AsyncPool, action: Action) -> Preview:
    await refuse_standby(db)
    table = await table_of(db, action.target) if action.target else None
    since, tables, indexes, unused = await _resettable(db, table)
    counted = "" if since is None else f", counted since {since:%Y-%m-%d %H:%M}"
    lost = [f"rates, hit ratios and how often tables and indexes were used{counted}"]
    if table is None:
        lost += [f"of {many(tables, 'table')} and {indexes:,} indexes, {unused:,} of them never used so far"]
    else:
        row = await db.one(Q["table_stats"], {"table": table.oid})
        seq, idx, changes, _, its = row if row is not None else (0, 0, 0, 0, 0)
        lost += [f"{many(seq, 'scan')} of all of it, {idx:,} by its {its:,} indexes, {changes:,} rows written"]
    return Preview(
        action=action,
        title=f"reset the counters of {'the whole database' if table is None else f'table {table.full}'}",
        matched=1,
        exact=True,
        samples=(*lost, "takes no lock; the data stays as it is"),
        sql=_reset_sql(table),
        warning="which index is unused is not known for weeks; autovacuum has forgotten what is dead, and comes late:"
        " analyze the tables that change much",
        undo="cannot be undone: nobody keeps the old counters",
    )


async def reset(db: AsyncPool, action: Action) -> Done:
    await refuse_standby(db)
    table = await table_of(db, action.target) if action.target else None
    since, *_ = await _resettable(db, table)
    async with db.transaction() as tx:
        detail: dict[str, JsonValue] = {"counted_since": since.isoformat() if since else None}
        audit_id = await audit.record(tx, action.name, action.target, matched=1, changed=1, detail=detail)
        if table is None:
            await tx.all(Q["reset_all_stats"])
        else:
            await tx.all(Q["reset_table_stats"], {"name": table.full})
    return Done(1, 1, audit_id, f"reset the counters of {'the database' if table is None else table.full}")


async def _resettable(db: AsyncPool, table: Table | None) -> tuple[datetime | None, int, int, int]:
    """Since when is counted, and of how much. Raises RefusedError where this role may not reset it."""
    row = await db.one(Q["stats_kept"])
    assert row is not None
    since, tables, indexes, unused, all_may, one_may, role = row
    name = "pg_stat_reset()" if table is None else "pg_stat_reset_single_table_counters(oid)"
    if not (all_may if table is None else one_may):
        raise RefusedError(
            f"this role may not run {name}",
            f"a superuser can run: grant execute on function pg_catalog.{name} to {role}",
        )
    return since, tables, indexes, unused


def _reset_sql(table: Table | None) -> str:
    return Q["reset_all_stats"].decode() if table is None else shown(Q["reset_table_stats"], {"name": table.full})


async def _differing(db: AsyncDatabase) -> tuple[Retuned, ...]:
    now = await options_now(db, [*TUNED])
    found = []
    for table, (options, owned) in now.items():
        wrong = {name: value for name, value in TUNED[table].items() if not same(options.get(name), value)}
        if wrong:
            found.append(Retuned(table, owned, {name: options.get(name) for name in wrong}, wrong))
    return tuple(found)


def _changes(one: Retuned) -> str:
    return ", ".join(
        f"{name} {one.before[name] or 'not set'} → {value or 'not set'}" for name, value in one.after.items()
    )


def _check_owned(one: Retuned) -> None:
    if not one.owned:
        raise RefusedError(f"this role does not own pgops.{one.table}", "connect as the owner of the schema pgops")


def _check_whole(action: Action) -> None:
    if action.target:
        raise UsageError(f"it looks at all of our tables, not at {action.target[:60]!r} alone", "leave the name out")


PREVIEWS: dict[ActionName, Callable[[AsyncPool, Action], Awaitable[Preview]]] = {
    "tune_queue_tables": preview_tune,
    "reset_stats": preview_reset,
}
ACTS: dict[ActionName, Callable[[AsyncPool, Action], Awaitable[Done]]] = {
    "tune_queue_tables": tune,
    "reset_stats": reset,
}
