"""The guide: a Markdown page for each task. ``luxscale guide`` shows them in a terminal.

Imports errors and what it stands on.
"""

import difflib
import re
from importlib.resources import files

from luxscale.errors import InputError

__all__ = ["page", "topics"]

#: Pages, in the order in which they are listed.
_TOPICS = (
    "from-python",
    "survey",
    "select",
    "files",
    "archive",
    "run",
    "cluster",
    "object-storage",
    "other-tools",
    "understand",
    "errors",
    "nuisances",
    "paper",
    "glossary",
)

#: Similarity of a word and a topic, 0 to 1, from which on the one is taken for the other.
_CLOSE = 0.75

#: Pages that speak of a word and are named, at most.
_MOST_FOUND = 4


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
        If there is no such topic; names the nearest, or else those that speak of it most.
    """
    if name not in _TOPICS:
        raise InputError(f"the guide has no topic {name!r}; {_advise(name)}")
    file = files("luxscale.guide") / f"{name}.md"
    return file.read_text(encoding="utf-8")


def _advise(name: str) -> str:
    """Say which topics are meant where one is asked for that there is not."""
    topics_there = f"topics are {', '.join(_TOPICS)}"
    for near in difflib.get_close_matches(name.lower(), _TOPICS, 1, _CLOSE):
        return f"did you mean {near!r}? {topics_there}"
    speaking = _find_topics_with(name)
    if speaking:
        return f"pages that speak of it: {', '.join(speaking)}; {topics_there}"
    return topics_there


def _find_topics_with(word: str) -> list[str]:
    """Return the topics whose pages have words that begin so, the most such words first."""
    if not word[:1].isalnum():
        return []
    beginning = re.compile(rf"\b{re.escape(word)}", re.IGNORECASE)
    counts = {topic: len(beginning.findall(page(topic))) for topic in _TOPICS}
    found = [topic for topic in _TOPICS if counts[topic]]
    return sorted(found, key=lambda topic: -counts[topic])[:_MOST_FOUND]
