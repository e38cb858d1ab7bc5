"""The command that lists what can be read: survey files, and catalogues of labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from luxscale.cli.base import JSON, main, show

#: Before what is said of a format or a catalogue.
_INDENT = " " * 24


@main.command(short_help="List formats of survey files and of catalogues of labels.")
@JSON
def formats(as_json: bool) -> None:
    """List formats of survey files and of catalogues, with options and the bits of masks."""
    from luxscale.labels import CATALOGS
    from luxscale.readers import FORMATS

    formats = []
    for found in FORMATS.values():
        formats.append(
            {
                "name": found.name,
                "doc": found.doc,
                "options": [dataclasses.asdict(option) for option in found.options],
                "bits": dict(found.bits),
                "bad": found.bad,
                "continuum": found.continuum,
                "rest_frame": found.rest_frame,
                "tried": found.tried,
            }
        )
    catalogs = []
    for catalog in CATALOGS.values():
        catalogs.append(
            {
                "name": catalog.name,
                "doc": catalog.doc,
                "labels": list(catalog.labels),
                "usual": catalog.usual,
            }
        )
    text = "\n".join([*_list_formats(formats), "", *_list_catalogs(catalogs)])
    show({"formats": formats, "catalogs": catalogs}, text, as_json)


def _list_formats(formats: list[dict[str, Any]]) -> Iterator[str]:
    for facts in formats:
        line = f"{facts['name']:<22}{facts['doc']}"
        if facts["tried"] != "real":
            line += " (tested on files built from the description)"
        yield line
        for option in facts["options"]:
            values = "|".join(option["choices"] or ("TEXT",))
            yield f"{_INDENT}--option {option['name']}={values}  {option['doc']}"
        if facts["bits"]:
            yield f"{_INDENT}mask bits: {_mark_names(facts['bits'], facts['bad'])}"
    yield ""
    yield "* bits that make a pixel bad, unless --bad says otherwise"


def _list_catalogs(catalogs: list[dict[str, Any]]) -> Iterator[str]:
    yield "Catalogues of labels:"
    for facts in catalogs:
        yield f"{facts['name']:<22}{facts['doc']}"
        yield f"{_INDENT}labels: {_mark_names(facts['labels'], facts['usual'])}"
    yield ""
    yield "* labels that are taken, unless --label says otherwise"


def _mark_names(names: Iterable[str], marked: Collection[str]) -> str:
    """Return names in a line, with a star behind those that are marked."""
    return " ".join(f"{name}*" if name in marked else name for name in names)
