"""Parts of Markdown pages that scripts write: tables, and the marks they stand between."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] | None = None
) -> str:
    """A table; ``right`` are the columns that are flush right, None: all but the first."""
    if right is None:
        right = range(1, len(head))
    rule = ["---:" if i in right else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def with_sections(page: Path, sections: Mapping[str, str]) -> str:
    """The page, with each text between the marks of its section."""
    text = page.read_text()
    for name, body in sections.items():
        begin, end = f"<!-- {name}: generated, do not edit -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(
                f"{page} has no section {name!r}: expected the marks {begin} and {end}"
            )
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n\n{body}\n\n{end}{rest.split(end, 1)[1]}"
    return text


def write_sections(page: Path, sections: Mapping[str, str]) -> None:
    """Puts each text between the marks of its section."""
    text = with_sections(page, sections)
    temporary = page.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, page)
