"""Stars by the hash of their identifiers: random draws, and sets that take little room.

What is drawn depends on identifiers alone, not on the order of stars, on chunks or machines.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib

import numpy as np

from luxscale.progress import Progress
from luxscale.schema.blocks import iterate_blocks

#: Bytes of a hash that a set keeps: eight letters of base 64, and among 10 million stars and a set
#: of 10,000 a chance of 1 in 2,800 that any is taken for another.
_KEPT = 6

#: Stars that are hashed at once, and beyond which progress is shown: these take a few seconds.
_BLOCK, _PROMPT = 100_000, 1_000_000


def hash_stars(stars: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a hash of each identifier, as text: (star,) uint64, uniform.

    Parameters
    ----------
    stars : array, (star,)
    seed : int
        Another one gives hashes that have nothing to do with these.
    """
    empty = hashlib.blake2b(digest_size=8, salt=seed.to_bytes(8, "big"))

    def digest(star: object) -> bytes:
        hashed = empty.copy()  # faster than one from the start
        hashed.update(str(star).encode())
        return hashed.digest()

    digests: list[bytes] = []
    with Progress("hashing", stars.size, unit="stars", enabled=stars.size > _PROMPT) as shown:
        for rows in iterate_blocks(stars.size, _BLOCK):
            digests.extend(map(digest, stars[rows].tolist()))
            shown.update(rows.stop)
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def draw_stars(stars: np.ndarray, number: int, seed: int = 0) -> np.ndarray:
    """Return the positions of so many stars, drawn at random, in order: (number,).

    They are those of the least hashes, so that a smaller draw is part of a larger one.

    Parameters
    ----------
    stars : array, (star,)
        At least so many.
    number, seed : int
    """
    order = np.argsort(hash_stars(stars, seed), kind="stable")
    return np.sort(order[:number])


@dataclasses.dataclass(frozen=True)
class StarSet:
    """A set of stars that knows its own, and cannot list them.

    Parameters
    ----------
    text : str
        Six bytes of the hash of each star, ascending, in base 64.
    """

    text: str = ""

    @classmethod
    def of(cls, stars: np.ndarray) -> StarSet:
        """Return the set of stars with these identifiers.

        Parameters
        ----------
        stars : array, (star,)
        """
        return cls._encode(_keep(stars))

    @classmethod
    def _encode(cls, kept: np.ndarray) -> StarSet:
        octets = np.unique(kept).astype(">u8").view(np.uint8).reshape(-1, 8)
        return cls(base64.b64encode(octets[:, -_KEPT:].tobytes()).decode())

    def _decode(self) -> np.ndarray:
        octets = np.frombuffer(base64.b64decode(self.text), np.uint8).reshape(-1, _KEPT)
        whole = np.pad(octets, ((0, 0), (8 - _KEPT, 0)))
        return np.ascontiguousarray(whole).view(">u8").ravel().astype(np.uint64)

    def __len__(self) -> int:
        """Return the number of stars."""
        return len(self.text) // 8

    def __or__(self, other: StarSet) -> StarSet:
        """Return the set of the stars of both."""
        return self._encode(np.concatenate([self._decode(), other._decode()]))

    def find(self, stars: np.ndarray) -> np.ndarray:
        """Return which of these stars are in the set: (star,) bool.

        Parameters
        ----------
        stars : array, (star,)
            Identifiers.
        """
        return np.isin(_keep(stars), self._decode())

    def __repr__(self) -> str:
        """Return one line."""
        return f"<StarSet of {len(self):,}>"


def _keep(stars: np.ndarray) -> np.ndarray:
    """Return the part of each hash that a set keeps: (star,) uint64."""
    kept: np.ndarray = hash_stars(stars) >> np.uint64(8 * (8 - _KEPT))
    return kept
