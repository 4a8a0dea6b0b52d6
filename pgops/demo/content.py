"""Real content: the documentation of the Python standard library that runs this program.

The rule: modules are read as text with `ast` and never imported, for importing one runs it.
"""

import ast
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Literal

from pgops.services.embedders import HashingEmbedder
from pgops.services.models import VectorRow

SHORTEST, LONGEST = 60, 1_000
PLACES = (
    "json", "csv.py", "pathlib.py", "sqlite3", "asyncio", "concurrent", "collections", "datetime.py",
    "statistics.py", "queue.py", "threading.py", "multiprocessing", "subprocess.py", "socket.py",
    "socketserver.py", "ssl.py", "http", "urllib", "email", "smtplib.py", "imaplib.py", "ftplib.py",
    "logging", "argparse.py", "configparser.py", "shutil.py", "tempfile.py", "zipfile.py", "tarfile.py",
    "gzip.py", "lzma.py", "pickle.py", "shelve.py", "random.py", "secrets.py", "hmac.py", "string.py",
    "textwrap.py", "difflib.py", "re", "functools.py", "contextlib.py", "dataclasses.py", "enum.py",
    "typing.py", "inspect.py", "importlib", "ast.py", "dis.py", "heapq.py", "bisect.py", "sched.py",
    "decimal.py", "fractions.py", "ipaddress.py", "uuid.py", "calendar.py", "locale.py", "html", "xml",
    "wsgiref", "unittest", "doctest.py", "pdb.py", "timeit.py", "trace.py", "tracemalloc.py", "mailbox.py",
    "optparse.py",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """One docstring: `name` is dotted and begins with the module's name."""

    module: str
    name: str
    kind: Literal["module", "class", "function"]
    text: str


def documents(stdlib: Path | None = None) -> Iterator[Document]:
    """The docstrings of modules, public classes and functions, file by file; what cannot be read is passed over.

    `stdlib` is the folder of the standard library, by default this Python's.
    """
    root = stdlib or Path(sysconfig.get_path("stdlib"))
    for place in PLACES:
        path = root / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            try:
                tree = ast.parse(file.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue
            module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            yield from _documents(tree, module, module)


def row(document: Document, embedder: HashingEmbedder) -> VectorRow:
    """The document as a row of a vector collection: its title and text, embedded together."""
    content = f"{document.name}: {document.text}"
    metadata = {"module": document.module, "kind": document.kind}
    return VectorRow(content, embedder.embed([content])[0], metadata)


def _documents(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, module: str, name: str
) -> Iterator[Document]:
    text = cleandoc(ast.get_docstring(node, clean=False) or "")
    if len(text) >= SHORTEST:
        yield Document(module, name, _kind(node), text[:LONGEST])
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                yield from _documents(child, module, f"{name}.{child.name}")


def _kind(node: ast.AST) -> Literal["module", "class", "function"]:
    if isinstance(node, ast.Module):
        return "module"
    return "class" if isinstance(node, ast.ClassDef) else "function"
