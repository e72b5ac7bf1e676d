"""Height, weight, age and sex of bodies: measured as on the mesh, and changed one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.measure import (
    AGE,
    DENSITY_KG_M3,
    HEIGHT,
    MEASURES_PATH,
    SEX,
    WEIGHT,
    MeasureError,
    Measures,
    measures_of,
    read_measures,
    to_arrays,
)
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES


@pytest.fixture(scope="module")
def measures(body: BodyModel) -> Measures:
    return measures_of(body)


def surface(body: BodyModel, betas: np.ndarray) -> np.ndarray:
    shaped = body.v_template.astype(np.float64) + body.shapedirs.astype(np.float64) @ betas
    return np.asarray(shaped)


def volume(body: BodyModel, betas: np.ndarray) -> float:
    """The divergence theorem on the triangles of the skin: another way to the volume than the cubic form."""
    outside = [body.material_names.index(name) for name in ("skin", "lips", "nails", "mouth")]
    quads = body.quads[np.isin(body.material_ids, outside)]
    corners = surface(body, betas)[np.concatenate([quads[:, [0, 1, 2]], quads[quads[:, 3] >= 0][:, [0, 2, 3]]])]
    return float(np.einsum("ti,ti->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))) / 6.0


def some_betas(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=24)


@pytest.mark.parametrize("seed", range(4))
def test_height_and_weight_are_those_of_the_surface(body: BodyModel, measures: Measures, seed: int) -> None:
    betas = some_betas(seed)
    values = dict(zip(measures.names, measures.measure(betas), strict=True))
    y = surface(body, betas)[np.unique(body.faces), 1]
    assert values[HEIGHT] == pytest.approx(100.0 * np.ptp(y), abs=0.05)
    assert values[WEIGHT] == pytest.approx(DENSITY_KG_M3 * volume(body, betas), rel=1e-4)


def test_the_derivatives_are_those_of_the_measures(measures: Measures) -> None:
    betas, step = some_betas(7), 1e-5
    _, derivative = measures._measure(betas)
    for k in range(24):
        moved = step * np.eye(24)[k]
        slope = (measures._measure(betas + moved)[0] - measures._measure(betas - moved)[0]) / (2 * step)
        np.testing.assert_allclose(derivative[:, k], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [(HEIGHT, 150.0), (HEIGHT, 200.0), (WEIGHT, 50.0), (WEIGHT, 110.0), (AGE, 70.0), (AGE, 10.0), (SEX, -1.0)],
)
@pytest.mark.parametrize("seed", range(2))
def test_one_measure_changes_and_the_others_stay(measures: Measures, name: str, value: float, seed: int) -> None:
    betas = 0.5 * some_betas(seed)
    wanted = measures.measure(betas)
    k = measures.names.index(name)
    if name == HEIGHT:  # of the same build: the body mass index stays
        wanted[1] *= (value / wanted[0]) ** 2
    if name == AGE:  # as people grow
        years = np.array([wanted[k], value])
        ages = np.interp(years, measures.age_years[:, 1], measures.age_years[:, 0])
        for column in (1, 2):
            now, then = np.interp(ages, measures.growth[:, 0], measures.growth[:, column])
            wanted[column - 1] *= then / now
    wanted[k] = value
    changed = measures.changed(betas, name, value)
    np.testing.assert_allclose(measures.measure(changed), wanted, rtol=1e-4, atol=1e-3)
    # And back: what makes this person another than the mean is still there.
    back = measures.changed(changed, name, float(measures.measure(betas)[k]))
    np.testing.assert_allclose(measures.measure(back), measures.measure(betas), rtol=1e-4, atol=1e-3)
    assert np.corrcoef(back, betas)[0, 1] > 0.99


def test_a_change_alters_no_more_than_it_must(measures: Measures) -> None:
    """Ten more centimetres are no other person."""
    betas = 0.5 * some_betas(3)
    height = float(measures.measure(betas)[0])
    assert np.abs(measures.changed(betas, HEIGHT, height + 10.0) - betas).max() < 1.0
    np.testing.assert_allclose(measures.changed(betas, HEIGHT, height), betas, atol=1e-9)


def test_men_have_broader_shoulders_and_children_larger_heads(body: BodyModel, measures: Measures) -> None:
    """The directions are named the right way round: told from the joints, which the regression did not see."""

    def joints(betas: np.ndarray) -> np.ndarray:
        return np.asarray(body.J_template + body.J_shapedirs @ betas)

    def ratio(betas: np.ndarray) -> float:
        """Shoulders' width for the hips'."""
        at = joints(betas)
        return float(np.linalg.norm(at[16] - at[17]) / np.linalg.norm(at[1] - at[2]))

    mean = measures.changed(np.zeros(24), SEX, 0.0)
    assert ratio(measures.changed(mean, SEX, 1.0)) > ratio(measures.changed(mean, SEX, -1.0))

    def head(betas: np.ndarray) -> float:
        """The head's share of the height."""
        top = surface(body, betas)[:, 1].max()
        return float(top - joints(betas)[15, 1]) / float(measures.measure(betas)[0])

    child, adult = (measures.changed(mean, AGE, years) for years in (6.0, 30.0))
    assert head(child) > 1.15 * head(adult)


def test_people_grow_with_their_age(measures: Measures) -> None:
    """Against the medians of the World Health Organization, girls and boys together: height in cm, weight in kg."""
    mean = measures.changed(np.zeros(24), SEX, 0.0)
    by_age = {years: measures.measure(measures.changed(mean, AGE, float(years))) for years in (2, 5, 10, 30, 85)}
    assert [by_age[years][0] for years in (2, 5, 10)] == pytest.approx([86.5, 109.5, 138.0], rel=0.05)
    assert [by_age[years][1] for years in (2, 5, 10)] == pytest.approx([11.8, 18.3, 32.0], rel=0.25)
    assert by_age[10][0] < by_age[85][0] < by_age[30][0] + 2.0
    # Somebody who is taller than others stays so.
    tall = measures.changed(mean, HEIGHT, 1.1 * float(measures.measure(mean)[0]))
    child = measures.measure(measures.changed(tall, AGE, 5.0))
    assert child[0] == pytest.approx(1.1 * by_age[5][0], rel=0.02)


def test_adults_go_on_to_look_older(body: BodyModel, measures: Measures) -> None:
    """Of the same height and weight: faces sag, with each decade about as much as with the one before."""
    mean = measures.changed(np.zeros(24), SEX, 0.0)
    height, weight = measures.measure(mean)[:2]
    face = body.weights[:, JOINT_NAMES.index("head")] > 0.9
    faces = []
    for years in (30.0, 40.0, 50.0, 60.0, 70.0, 80.0):
        older = measures.changed(mean, AGE, years)
        older = measures.changed(measures.changed(older, HEIGHT, float(height)), WEIGHT, float(weight))
        assert measures.measure(older)[2] == pytest.approx(years, abs=0.1)
        here = surface(body, older)[face]
        faces.append(here - here.mean(axis=0))
    moved = 1000.0 * np.linalg.norm(np.diff(faces, axis=0), axis=2).mean(axis=1)
    assert moved.min() > 0.25 and moved.max() < 2.0 * moved.min()


def test_a_licensed_body_has_height_and_weight(body: BodyModel) -> None:
    from dataclasses import replace

    other = replace(body, body_id="smplx-neutral", shapedirs=body.shapedirs[:, :, :10])
    measures = measures_of(other)
    assert measures.names == (HEIGHT, WEIGHT)
    values = measures.measure(np.zeros(10))
    assert values[1] == pytest.approx(DENSITY_KG_M3 * volume(body, np.zeros(24)), rel=1e-4)
    heavy = measures.changed(np.zeros(10), WEIGHT, 80.0)
    np.testing.assert_allclose(measures.measure(heavy), [values[0], 80.0], atol=1e-3)


def test_what_is_stored_comes_back_and_a_foreign_file_is_refused(
    body: BodyModel, measures: Measures, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **to_arrays(measures))
    again = read_measures(tmp_path / "a.npz", body)
    np.testing.assert_allclose(again.measure(some_betas(1)), measures.measure(some_betas(1)), rtol=1e-6)
    (tmp_path / "b.npz").write_bytes(b"not one")
    whole = MEASURES_PATH.read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.npz").write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    for path in (tmp_path / f"{name}.npz" for name in ("b", "c", "d", "nowhere")):
        with pytest.raises(MeasureError, match="Install Pantomime again"):
            read_measures(path, body)
    assert MEASURES_PATH.stat().st_size < 50_000
