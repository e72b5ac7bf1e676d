"""What people say of a body, as numbers, and how to change one of them: height, weight, age, sex. numpy only.

Height is measured at the surface, and weight is its volume times a density; both hold for any body of this format. How
old and of which sex a body looks is known for the free body alone: two linear readouts of the betas, regressed over
the population that it was learned from (`bake_measures`), directions that change one and leave the others, and how that
population grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..npz_errors import DAMAGED_NPZ
from .model import BodyModel

Floats = NDArray[np.float64]

MEASURES_PATH = Path(__file__).parent / "data" / "free_measures.npz"
# As anny's anthropometry has it.
DENSITY_KG_M3 = 980.0
HEIGHT, WEIGHT, AGE, SEX = "height", "weight", "age", "sex"
# Of a licensed file's 300 components the first say how heavy somebody is; the rest is details.
MOST_COMPONENTS = 20
# What closes the free body: teeth, tongue and eyes lie inside.
_OUTSIDE = ("skin", "lips", "nails", "mouth")
_DRAWN, _SPREAD = 256, 2.0  # people whose highest and lowest vertices are the ones that matter


class MeasureError(Exception):
    """A file of measures that can't be read; the message says what to do next."""


@dataclass(frozen=True)
class Measures:
    """The measures of a body with B betas: `height` in cm, `weight` in kg, `age` in years, `sex` from −1 (female) to 1.

    Age is what a body looks like: a readout of anny's age parameter, in the years of its authors for children, and for
    adults in those of MakeHuman, whose figures are. From youth on bodies change otherwise than before it, so there are
    directions for each.
    """

    names: tuple[str, ...]  # height, weight; for the free body also age, sex
    high: Floats  # (C₁, 1 + B) metres, y of vertices that may be the highest, for (1, betas)
    low: Floats  # (C₂, 1 + B)
    volume: Floats  # (1 + b, 1 + b, 1 + b) m³, symmetric: the volume is cubic in (1, the first b betas)
    readouts: Floats  # (K − 2, 1 + B)
    directions: Floats  # (2, B, K) before and from youth on: how betas change with each measure
    age_years: Floats  # (A, 2) anny's age parameter and years, increasing; empty where `names` lacks age
    youth: float = 0.0  # the age parameter where the second directions begin
    growth: Floats = field(default_factory=lambda: np.zeros((0, 3)))  # (G, 3) age parameter, mean height and weight

    @property
    def num_betas(self) -> int:
        return int(self.high.shape[1]) - 1

    def measure(self, betas: NDArray[np.floating[Any]]) -> Floats:
        """All measures (K,) of one person, in the order of `names`."""
        return self._for_people(self._measure(np.asarray(betas, np.float64))[0])

    def changed(self, betas: NDArray[np.floating[Any]], name: str, value: float) -> Floats:
        """Betas (B,) whose measure `name` is `value`, all other measures as they were; but a height keeps the body mass
        index instead of the weight, as a smaller person of the same weight would be another one, and with the age
        height and weight change as people's do: who is taller than others stays so by the same share."""
        betas = np.array(betas, np.float64)
        wanted = self._measure(betas)[0]
        grown = self._grown(wanted)
        if name == AGE:
            target = float(np.interp(value, self.age_years[:, 1], self.age_years[:, 0]))
            if (target >= self.youth) != grown:
                wanted = self._aged(wanted, self.youth)
                betas, grown = self._solve(betas, wanted, grown), not grown
            return self._solve(betas, self._aged(wanted, target), grown)
        k = self.names.index(name)
        if name == HEIGHT:
            wanted[self.names.index(WEIGHT)] *= (value / wanted[k]) ** 2
        wanted[k] = value
        return self._solve(betas, wanted, grown)

    def _aged(self, values: Floats, age: float) -> Floats:
        """The measures of somebody at another age (parameter)."""
        values, k = values.copy(), self.names.index(AGE)
        for column, name in ((1, HEIGHT), (2, WEIGHT)):
            now, then = np.interp([values[k], age], self.growth[:, 0], self.growth[:, column])
            values[self.names.index(name)] *= then / now
        values[k] = age
        return values

    def _grown(self, values: Floats) -> bool:
        return AGE not in self.names or bool(values[self.names.index(AGE)] >= self.youth)

    def _solve(self, betas: Floats, wanted: Floats, grown: bool, steps: int = 8) -> Floats:
        """Newton's method in the K unknowns that say how far to go along the directions."""
        directions = self.directions[int(grown)]
        for _ in range(steps):
            now, derivative = self._measure(betas)
            if np.abs(now - wanted).max() < 1e-7:
                break
            betas = betas + directions @ np.linalg.solve(derivative @ directions, wanted - now)
        return betas

    def _for_people(self, values: Floats) -> Floats:
        if AGE in self.names:
            k = self.names.index(AGE)
            values[k] = np.interp(values[k], self.age_years[:, 0], self.age_years[:, 1])
        return values

    def _measure(self, betas: Floats) -> tuple[Floats, Floats]:
        """(K,), age as its parameter, and the derivatives (K, B)."""
        one = np.concatenate([[1.0], betas])
        top, bottom = self.high[np.argmax(self.high @ one)], self.low[np.argmin(self.low @ one)]
        few = one[: self.volume.shape[0]]
        by_few = self.volume @ few @ few
        values = np.concatenate([[100.0 * (top - bottom) @ one, DENSITY_KG_M3 * by_few @ few], self.readouts @ one])
        derivatives = np.zeros((len(values), len(betas)))
        derivatives[0] = 100.0 * (top - bottom)[1:]
        derivatives[1, : len(few) - 1] = 3.0 * DENSITY_KG_M3 * by_few[1:]
        derivatives[2:] = self.readouts[:, 1:]
        return values, derivatives


def measures_of(body: BodyModel) -> Measures:
    """The measures of a body; kept for the next call. Takes up to a second for a licensed body. Raises MeasureError."""
    return _measures_of(body)


@lru_cache(maxsize=3)
def _measures_of(body: BodyModel) -> Measures:
    if body.body_id == "free":
        return read_measures(MEASURES_PATH, body)
    high, low = extremes(body)
    volume = volume_tensor(body, min(body.num_betas, MOST_COMPONENTS))
    none = np.zeros((0, 1 + body.num_betas))
    plain = Measures((HEIGHT, WEIGHT), high, low, volume, none, np.zeros(0), np.zeros((0, 2)))
    # Betas are normally distributed with unit variance, so that the likeliest change for a measure is the shortest one.
    _, derivative = plain._measure(np.zeros(body.num_betas))
    directions = derivative.T @ np.linalg.inv(derivative @ derivative.T)
    return replace(plain, directions=np.stack([directions, directions]))


def extremes(body: BodyModel) -> tuple[Floats, Floats]:
    """`high` and `low` of a body: vertices that are the highest or the lowest of anybody."""
    held = np.unique(body.faces)
    y = np.concatenate([body.v_template[held, 1, None], body.shapedirs[held, 1]], axis=1).astype(np.float64)
    betas = np.random.default_rng(0).normal(scale=_SPREAD, size=(body.num_betas, _DRAWN))
    betas[MOST_COMPONENTS:] = 0.0
    betas[:, 0] = 0.0
    heights = y @ np.concatenate([np.ones((1, _DRAWN)), betas])
    return y[np.unique(heights.argmax(axis=0))], y[np.unique(heights.argmin(axis=0))]


def volume_tensor(body: BodyModel, num_betas: int) -> Floats:
    """The volume as a cubic form in (1, betas), (1 + b, 1 + b, 1 + b), symmetric: by the divergence theorem the sum of
    det(p, q, r) / 6 over triangles, whose corners are linear in betas."""
    quads = body.quads if len(body.quads) else np.pad(body.faces, ((0, 0), (0, 1)), constant_values=-1)
    outside = [k for k, name in enumerate(body.material_names) if name in _OUTSIDE]
    if outside:
        quads = quads[np.isin(body.material_ids, outside)]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[quads[:, 3] >= 0][:, [0, 2, 3]]])
    shape = np.concatenate([body.v_template[..., None], body.shapedirs[..., :num_betas]], axis=2)  # (V, 3, 1 + b)
    p, q, r = (shape[triangles[:, k]] for k in range(3))
    size = num_betas + 1
    tensor = np.zeros((size, size, size))
    flat = r.reshape(-1, size)
    for a in range(size):
        # Single precision for the products of this many terms would lose grams only.
        crossed = np.cross(p[:, :, a, None], q, axis=1)
        tensor[a] = crossed.reshape(-1, size).T @ flat
    turns = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    symmetric: Floats = np.sum([np.transpose(tensor, turn) for turn in turns], axis=0) / 36.0
    return symmetric


def to_arrays(measures: Measures) -> dict[str, NDArray[np.generic]]:
    """What is stored; the volume's symmetric entries once."""
    index = tuple(np.array(list(combinations_with_replacement(range(measures.volume.shape[0]), 3))).T)
    return {
        "names": np.asarray(measures.names),
        "high": measures.high.astype(np.float32),
        "low": measures.low.astype(np.float32),
        "volume": measures.volume[index],
        "readouts": measures.readouts.astype(np.float32),
        "directions": measures.directions.astype(np.float32),
        "age_years": measures.age_years,
        "youth": np.asarray(measures.youth),
        "growth": measures.growth,
    }


def read_measures(path: Path, body: BodyModel) -> Measures:
    """Read what `to_arrays` stored. Raises MeasureError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            high, low, readouts, directions, age_years, growth = (
                np.asarray(data[name], np.float64)
                for name in ("high", "low", "readouts", "directions", "age_years", "growth")
            )
            youth = float(data["youth"])
            names = tuple(str(name) for name in data["names"])
            packed = np.asarray(data["volume"], np.float64)
        size = high.shape[1]
        if size != 1 + body.num_betas or directions.shape != (2, size - 1, len(names)):
            raise ValueError("of another body")
        volume = np.zeros((size, size, size))
        i, j, k = np.array(list(combinations_with_replacement(range(size), 3))).T
        for a, b, c in ((i, j, k), (i, k, j), (j, i, k), (j, k, i), (k, i, j), (k, j, i)):
            volume[a, b, c] = packed
    except DAMAGED_NPZ as error:
        raise MeasureError(f"{path} is missing, damaged, or of another body. Install Pantomime again.") from error
    return Measures(names, high, low, volume, readouts, directions, age_years, youth, growth)
