"""Legs of captured skeletons that are too long come back to straight ones, on motion that the tests make."""

from __future__ import annotations

import numpy as np
import pytest

from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS
from pantomime.core.priors.mocap_legs import NO_STRETCH, leg_motion, straightened, stretch_of
from pantomime.core.priors.so3 import Array, axis_rotation, exp_so3

WALK_DEG = [4, 10, 17, 20, 20, 17, 14, 10.5, 8, 7, 10, 17, 30, 46, 60, 65, 60, 45, 24, 6]  # Winter 2009, a cycle


def person(flexion_rad: Array, seed: int = 0) -> Array:
    """Local rotations (T, 55, 3, 3) with knees (T, 2) bent about x; hips follow, so that the feet stay below."""
    rng = np.random.default_rng(seed)
    rotations = np.tile(np.eye(3), (len(flexion_rad), NUM_JOINTS, 1, 1))
    rotations[:, 0] = exp_so3(np.array([0.05, 1.1, -0.03]))
    for k, side in enumerate(("left", "right")):
        turn = exp_so3(rng.normal(0.0, 0.1, 3))
        rotations[:, JOINT_INDEX[f"{side}_hip"]] = turn @ axis_rotation("x", -0.5 * flexion_rad[:, k])
        rotations[:, JOINT_INDEX[f"{side}_knee"]] = axis_rotation("x", flexion_rad[:, k])
        rotations[:, JOINT_INDEX[f"{side}_ankle"]] = exp_so3(rng.normal(0.0, 0.2, 3))
    return rotations


def too_long(flexion_rad: Array, stretch: float) -> Array:
    """Flexion with which bones that are too long reach from the same hips to the same ankles."""
    return np.asarray(2 * np.arccos(np.cos(flexion_rad / 2) / stretch))


def course(degrees: list[float], frames: int) -> Array:
    """A cycle (T, 2) in radians; the right leg half a cycle after the left one."""
    phase = np.arange(frames) / 32.0
    values = [np.interp((phase + half) % 1.0, np.arange(len(degrees) + 1) / len(degrees), [*degrees, degrees[0]])
              for half in (0.0, 0.5)]  # fmt: skip
    return np.radians(np.stack(values, 1))


@pytest.mark.parametrize("stretch", [1.01, 1.02, 1.03])
def test_walking_with_long_legs_comes_back(stretch: float) -> None:
    true = course(WALK_DEG, 160)
    motion = leg_motion(person(too_long(true, stretch)))
    found = stretch_of([motion], motion, walks=True)
    assert np.allclose(found, stretch, atol=0.004)
    back = leg_motion(straightened(person(too_long(true, stretch)), found)).flexion_rad
    before = np.abs(too_long(true, stretch) - true)
    assert np.abs(back - true).mean() < 0.35 * before.mean()
    assert np.degrees(np.abs(back - true).mean()) < 2.0


def test_who_stands_still_stands_on_straight_legs() -> None:
    true = np.radians(np.full((100, 2), 5.0)) + 0.01 * np.random.default_rng(0).normal(size=(100, 2))
    seen = too_long(true, 1.02)
    walking = leg_motion(person(course(WALK_DEG, 400)))  # of the same subject, in another session
    motion = leg_motion(person(seen))
    assert motion.standing.sum() > 80
    found = stretch_of([walking, motion], motion, walks=False)
    back = np.degrees(leg_motion(straightened(person(seen), found)).flexion_rad)
    assert np.degrees(seen).mean() > 22
    assert 3.0 < back.mean() < 8.0


def test_straightening_keeps_feet_direction_and_plane() -> None:
    rotations = person(np.radians([[20.0, 95.0], [32.0, 4.0]]))
    result = straightened(rotations, (1.02, 1.02))

    def leg(pose: Array, side: str) -> tuple[Array, Array, Array]:
        thigh = pose[0] @ pose[JOINT_INDEX[f"{side}_hip"]]
        shin = thigh @ pose[JOINT_INDEX[f"{side}_knee"]]
        return -thigh[:, 1] - shin[:, 1], np.cross(thigh[:, 1], shin[:, 1]), shin @ pose[JOINT_INDEX[f"{side}_ankle"]]

    for pose, new in zip(rotations, result, strict=True):
        for side in ("left", "right"):
            (line, plane, foot), (line_now, plane_now, foot_now) = leg(pose, side), leg(new, side)
            assert np.allclose(line / np.linalg.norm(line), line_now / np.linalg.norm(line_now), atol=1e-6)
            assert np.allclose(plane / np.linalg.norm(plane), plane_now / np.linalg.norm(plane_now), atol=1e-6)
            assert np.allclose(foot, foot_now, atol=1e-9)
            assert np.linalg.norm(line_now) >= np.linalg.norm(line) - 1e-9
    flexion = np.degrees(leg_motion(result).flexion_rad)
    assert 3.0 < flexion[0, 0] < 6.0  # straight, not beyond
    assert 92.0 < flexion[0, 1] < 95.0  # a bent knee hardly changes
    assert flexion[1, 1] <= 4.0 + 1e-6  # a straight one is not bent
    assert np.array_equal(straightened(rotations, NO_STRETCH), rotations)


def test_who_crouches_all_the_time_is_stretched_little() -> None:
    crouching = np.radians(80.0 + 15.0 * np.sin(np.linspace(0, 20, 300)))[:, None].repeat(2, axis=1)
    motion = leg_motion(person(crouching))
    upright = leg_motion(person(course(WALK_DEG, 600)))
    assert max(stretch_of([upright, motion], motion, walks=False)) <= 1.02
    alone = stretch_of([motion], motion, walks=False)
    assert max(alone) <= 1.04
    left = np.degrees(leg_motion(straightened(person(crouching), alone)).flexion_rad)
    assert left.min() > 55.0
