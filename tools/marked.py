"""Replaces a generated part of a page, between two marks."""

import re


def with_part(text: str, name: str, part: str) -> str:
    """The page with this part between its marks, which are HTML comments.

    Raises ValueError if the page has no such marks.
    """
    begin, end = f"<!-- {name}: make notebooks -->\n", f"<!-- end of {name} -->\n"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    if not re.search(pattern, text, re.DOTALL):
        raise ValueError(f"the page has no marks for {name!r}: {begin.strip()}")
    return re.sub(pattern, lambda _: f"{begin}{part.rstrip()}\n{end}", text, flags=re.DOTALL)
