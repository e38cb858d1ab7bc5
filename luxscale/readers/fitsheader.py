"""Headers of FITS files: keywords and values, of which none is trusted to make sense."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from luxscale.schema import InputError

CARD = 80


class BadFile(InputError):
    """A file that cannot be used; the message is the reason, without the file's name."""


class Header(Mapping[str, Any]):
    """Keywords of a header and their values: text, int, float, bool, or None where it is left blank."""

    def __init__(self, raw: bytes):
        self._cards: dict[bytes, bytes] = {}
        self._more: dict[bytes, list[bytes]] = {}
        key = b""
        for at in range(0, len(raw), CARD):
            if raw[at + 8 : at + 10] == b"= ":
                key = raw[at : at + 8].rstrip()
                self._cards.setdefault(key, raw[at + 10 : at + CARD])
            elif raw[at : at + 10] == b"CONTINUE  ":
                self._more.setdefault(key, []).append(raw[at + 10 : at + CARD])

    def __getitem__(self, key: str) -> Any:
        return _value(self._cards[key.upper().encode("latin-1", "replace")].decode("latin-1"))

    def __iter__(self) -> Iterator[str]:
        return (key.decode("latin-1") for key in self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    def text(self, key: str) -> str:
        """Return a text that may go on over several cards, "" where there is none."""
        pieces = [self.get(key), *(_value(c.decode("latin-1")) for c in self._more.get(key.upper().encode(), ()))]
        return "".join(piece.removesuffix("&") for piece in pieces if isinstance(piece, str))

    def count(self, key: str, default: int | None = None) -> int:
        """Return a number of things, which no header may have negative or fractional."""
        value = self.get(key, default)
        if type(value) is not int or value < 0:
            raise BadFile(f"damaged FITS header: {key} = {value!r}")
        return value


_TEXT = re.compile(r" *'((?:[^']|'')*)'")


def _value(text: str) -> Any:
    if found := _TEXT.match(text):
        return found[1].replace("''", "'").rstrip()
    word = text.partition("/")[0].strip()
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word.replace("D", "E"))
    return {"T": True, "F": False, "": None}.get(word, word)
