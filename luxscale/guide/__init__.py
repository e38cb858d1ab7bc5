"""The guide: a Markdown page for each task. ``luxscale guide`` shows them in a terminal.

Imports errors and what it stands on.
"""

import difflib
from importlib.resources import files

from luxscale.errors import InputError

__all__ = ["page", "topics"]

#: Pages, in the order in which they are listed.
_TOPICS = (
    "from-python",
    "survey",
    "files",
    "run",
    "cluster",
    "object-storage",
    "other-tools",
    "understand",
    "errors",
    "paper",
    "glossary",
)


def topics() -> dict[str, str]:
    """Return the topics of the guide.

    Returns
    -------
    dict of str to str
        Topic -> title of its page, in the order of the guide.

    Examples
    --------
    >>> from luxscale import guide
    >>> guide.topics()["errors"]
    'What the errors mean, and when not to trust a label'
    """
    titles = {}
    for name in _TOPICS:
        first_line = page(name).splitlines()[0]
        titles[name] = first_line.removeprefix("# ")
    return titles


def page(name: str) -> str:
    """Return a page of the guide.

    Parameters
    ----------
    name : str
        Topic, see `topics`.

    Returns
    -------
    str
        Markdown.

    Raises
    ------
    InputError
        If there is no such topic; names the nearest.
    """
    if name not in _TOPICS:
        advice = f"topics are {', '.join(_TOPICS)}"
        for near in difflib.get_close_matches(name.lower(), _TOPICS, 1, 0.5):
            advice = f"did you mean {near!r}? {advice}"
        raise InputError(f"the guide has no topic {name!r}; {advice}")
    file = files("luxscale.guide") / f"{name}.md"
    return file.read_text(encoding="utf-8")
