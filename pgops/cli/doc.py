"""`pgops doc …`: collections of JSON documents: put, change, find, and the indexes that make finding fast."""

from typing import Annotated

import typer

from pgops.cli import acts, inputs, output, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import NotFoundError, UsageError
from pgops.services.models import Document, IndexKind, IndexType, JsonValue, NewDocument, Where

app = group("doc", "Collections of JSON documents and their indexes.")
Name = Annotated[str, typer.Argument(metavar="COLLECTION", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Version = Annotated[
    int | None, typer.Option("--version", help="Only over this version; exit code 5 where it is another.")
]


@command(app, "list", example="pgops doc list --json")
async def list_(cli: Cli) -> None:
    """Every collection, how many documents it has and what they take."""
    async with cli.connect() as pg:
        found = await pg.documents.list()
    rows = [
        (
            one.name, one.documents if one.documents_exact else f"~{one.documents:,}", tables.size(one.bytes),
            tables.size(one.index_bytes), one.created_at,
        )
        for one in found
    ]  # fmt: skip
    cli.items(found, ("collection", "documents", "size", "index size", "created"), rows)


@command(app, "create", example="pgops doc create orders --json")
async def create(cli: Cli, collection: Name) -> None:
    """Make an empty collection: a table pgops.doc_COLLECTION."""
    async with cli.connect() as pg:
        made = await pg.documents.create(collection)
    cli.done("create", f"created {collection}, table {made.table}", more={"collection": made})


@command(app, "put", example="""pgops doc put events '{"type": "purchase", "amount": 60}' --id e1 --json""")
async def put(
    cli: Cli,
    collection: Name,
    data: Annotated[str, typer.Argument(metavar="[JSON]", help="An object, or - for stdin.", show_default=False)] = "",
    id: Annotated[str | None, typer.Option("--id", help="Otherwise one is drawn.")] = None,
    version: Version = None,
    ttl: Annotated[float | None, typer.Option("--ttl", metavar="SECONDS", help="Otherwise without an end.")] = None,
    many: Annotated[
        bool, typer.Option("--many", help='From stdin, one {"id": …, "data": {…}} a line, all or none.')
    ] = False,
) -> None:
    """Store a document, in the place of what was under its id."""
    if many == bool(data) or (many and (id is not None or version is not None)):
        raise UsageError("give one object, or --many and lines on stdin", """for example '{"name": "Ann"}'""")
    if many:
        async with cli.connect() as pg:
            stored = await pg.documents.put_many(collection, map(_line, inputs.stdin_lines()), ttl_s=ttl)
        cli.done("put", f"stored {stored:,} documents in {collection}", matched=stored, changed=stored)
        return
    value = inputs.payload(data)
    async with cli.connect() as pg:
        document = await pg.documents.put(collection, value, id, expected_version=version, ttl_s=ttl)
    _stored(cli, "put", collection, document)


def _line(value: JsonValue) -> NewDocument:
    if isinstance(value, dict) and value.keys() <= {"id", "data"} and "data" in value:
        return NewDocument(value["data"], value.get("id"))
    raise UsageError("a line is an object of data and optional id", """for example {"id": "u1", "data": {"a": 1}}""")


def _stored(cli: Cli, verb: str, collection: str, one: Document) -> None:
    said = f"{collection}/{one.id} has version {one.version:,}"
    facts = {"collection": collection, "id": one.id, "version": one.version, "updated_at": one.updated_at}
    cli.done(verb, said, more={**facts, "expires_at": one.expires_at})


@command(app, "get", example="pgops doc get events e1 --json")
async def get(cli: Cli, collection: Name, id: Id) -> None:
    """Print a document; exit code 5 where there is none."""
    async with cli.connect() as pg:
        found = await pg.documents.get(collection, id)
    if found is None:
        raise _missing(collection, id)
    pairs = [("id", found.id), ("version", found.version), ("updated", found.updated_at), ("data", found.data)]
    cli.facts({"collection": collection, "document": found}, pairs)


def _missing(collection: str, id: str) -> NotFoundError:
    return NotFoundError(f"there is no document {id[:60]!r} in {collection!r}", "it was never put, or is gone")


@command(app, "patch", example="""pgops doc patch events e1 '{"amount": 70, "note": null}' --json""")
async def patch(
    cli: Cli,
    collection: Name,
    id: Id,
    change: Annotated[str, typer.Argument(metavar="JSON", help="A merge patch, or - for stdin.", show_default=False)],
    version: Version = None,
) -> None:
    """Change a document by a JSON merge patch: null removes a key, objects are merged, all else replaces."""
    value = inputs.payload(change)
    async with cli.connect() as pg:
        document = await pg.documents.patch(collection, id, value, expected_version=version)
    _stored(cli, "patch", collection, document)


@command(app, "delete", example="pgops doc delete events e2 --json")
async def delete(cli: Cli, collection: Name, id: Id, version: Version = None) -> None:
    """Remove a document; exit code 5 where there is none."""
    async with cli.connect() as pg:
        gone = await pg.documents.delete(collection, id, expected_version=version)
    if not gone:
        raise _missing(collection, id)
    cli.done("delete", f"deleted {collection}/{id}", more={"collection": collection, "id": id})


@command(app, "find", example="pgops doc find events --where type=purchase --where 'amount>50' --sort -amount --json")
async def find(
    cli: Cli,
    collection: Name,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="""user_id=42, amount>50, status in ["a","b"], tags any ["x"]; may be repeated."""
        ),
    ] = None,
    contains: Annotated[
        list[str] | None, typer.Option("--contains", metavar="JSON", help="An object that the document contains.")
    ] = None,
    sort: Annotated[str | None, typer.Option("--sort", metavar="PATH", help="-PATH for the largest first.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many, at most.")] = 20,
    after: Annotated[str | None, typer.Option("--after", help="The `next` of the page before.")] = None,
    count: Annotated[bool, typer.Option("--count", help="Only how many there are, counted to 10,000.")] = False,
) -> None:
    """The documents for which all conditions are true."""
    from pgops.services.document_rules import parse_where

    wanted = [parse_where(one) for one in where or ()]
    wanted += [Where((), "contains", inputs.payload(one)) for one in contains or ()]
    path = None if sort is None else sort.removeprefix("-")
    async with cli.connect() as pg:
        if count:
            found = await pg.documents.count(collection, wanted)
            about = "" if found.count_exact else "at least "
            cli.facts({"collection": collection, **output.plain(found)}, [("count", f"{about}{found.count:,}")])
            return
        down = path is not None and path != sort
        page = await pg.documents.find(collection, wanted, sort=path, descending=down, limit=limit, after=after)
    if cli.json:
        cli.document({"items": page.documents, "next": page.next})
        return
    tables.table(("id", "version", "data"), [(one.id, str(one.version), one.data) for one in page.documents])
    if page.next is not None:
        output.talk(f"more: --after {page.next}")


@command(app, "index", example="pgops doc index events customer.is_new --json")
async def index(
    cli: Cli,
    collection: Name,
    path: Annotated[str | None, typer.Argument(help="customer.name, items[0].sku", show_default=False)] = None,
    kind: Annotated[IndexKind | None, typer.Option("--kind", help="gin: of the whole document, or of PATH.")] = None,
    type: Annotated[
        IndexType, typer.Option("--type", help="text: of data->>'PATH', as hand-written SQL has it.")
    ] = "json",
    drop: Annotated[str | None, typer.Option("--drop", metavar="NAME", help="Drop this index.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Make an index without blocking writers; without PATH and --kind, list them."""
    from pgops.ops.act.actions import Action

    if drop is not None:
        await acts.act(cli, Action("drop_index", f"{collection}.{drop}"), yes=yes, dry_run=dry_run)
        return
    async with cli.connect() as pg:
        if path is not None or kind is not None:
            made = await pg.documents.create_index(collection, path, kind=kind or "btree", type=type)
            cli.done("index", f"built {made.name} ({tables.size(made.bytes)})", more={"index": made})
            return
        found = await pg.documents.list_indexes(collection)
    heads = ("index", "kind", "type", "path", "valid", "size", "scans")
    rows = [
        (one.name, one.kind, one.type, one.path, one.valid, tables.size(one.bytes), one.scans_total) for one in found
    ]
    cli.items(found, heads, rows)


@command(app, "drop", example="pgops doc drop notes --yes --json")
async def drop(cli: Cli, collection: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Drop a collection with its documents and its indexes."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("drop_documents", collection), yes=yes, dry_run=dry_run)
