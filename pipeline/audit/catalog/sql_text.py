"""SQL literals, and DuckDB's messages in one line."""

import re


def quote(text: str) -> str:
    """SQL literal of a string."""
    return "'" + text.replace("'", "''") + "'"


def as_pattern(path: str) -> str:
    """The path as a glob pattern that matches only itself."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def one_line(error: Exception) -> str:
    """Message of a DuckDB error without the excerpt of the query and without a file system's traceback."""
    text = str(error).partition("\n\nLINE ")[0].strip()
    # Errors of a function in Python carry its traceback, the message last.
    text = text.splitlines()[-1] if "Traceback" in text else text
    return " ".join(text.split()).rstrip(".")
