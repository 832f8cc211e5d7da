"""Docstrings of the package, as Sphinx shows them.

    Args:                          :Args:   - **timeout**: seconds ...
    Raises:               ──>      :Raises: - `Full`: no room ...
    Cancellation: ...              :Cancellation: ...
    size: int  # records           :Fields: - **size**: records        (of a dataclass or NamedTuple)

The sections are those of the google convention, and one of our own; an entry of Raises names an error, several or none.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sphinx.application import Sphinx  # type: ignore[import-not-found]  # only the docs have it

SECTION: Final = re.compile(r"(Args|Attributes|Cancellation|Raises|Returns|Yields):(?: (.*))?$")
NAMED: Final = re.compile(r"([\w*.]+(?:, [\w*.]+)*): (.*)$")
FIELD: Final = re.compile(r"^    (\w+): [^#\n]*#\s(?!type:)(.*)$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Let autodoc show docstrings as this module does."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Replace *lines*, a docstring, by what is shown."""
    if what in ("class", "exception"):
        lines += ["", *beginning(obj)]
    shown = list(sections(lines))
    if what in ("class", "exception"):
        shown += fields(obj)
    lines[:] = shown


def beginning(cls: type) -> list[str]:
    """Return the docstring of __init__, where it says what to give."""
    said = inspect.getdoc(vars(cls).get("__init__")) or ""
    return said.splitlines() if "Args:" in said or issubclass(cls, Exception) else []


def sections(lines: Iterable[str]) -> Iterator[str]:
    """Yield *lines* with each section as a field."""
    inside = False
    for line in lines:
        if found := SECTION.match(line):
            inside = True
            yield from ("", f":{found[1]}:", *([f"    {found[2]}"] if found[2] else []))
        elif inside and (not line or line.startswith(" ")):
            yield entry(line)
        else:
            if inside:
                inside = False
                yield ""
            yield line
    yield ""


def entry(line: str) -> str:
    """Return one line of a section; names before a colon are a list's item."""
    body = line.lstrip()
    if not body:
        return ""
    if line.startswith("     "):  # it goes on
        return f"      {body}"
    if found := NAMED.match(body):
        names = ", ".join(f"`{part}`" if part[0].isupper() else f"**{part}**" for part in found[1].split(", "))
        return f"    - {names}: {found[2]}"
    return f"    - {body}"


def fields(cls: type) -> Iterator[str]:
    """Yield a field list of what *cls* holds, from the comments behind its fields."""
    if not (hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields")):
        return
    said = dict(FIELD.findall(textwrap.dedent(inspect.getsource(cls))))
    types = {name: kind for name, kind in typed_fields(cls) if not name.startswith("_") and "ClassVar" not in kind}
    if types:
        yield from ("", ":Fields:")
    for name, kind in types.items():
        yield f"    - **{name}** (``{kind}``)" + (f": {said[name]}" if name in said else "")
    yield ""


def typed_fields(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the fields of *cls* in their order, with their types as they are written."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.unparse(node.annotation)
