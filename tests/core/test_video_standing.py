"""Ground, gravity, contacts and focal length of a clip."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.fitting.contacts import Ground, find_contacts, find_ground, find_still, speeds
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.quality import clip_settings
from pantomime.core.fitting.video_fit import ClipFitter
from pantomime.core.fitting.video_focal import clip_focal, search_rows
from pantomime.core.fitting.video_shape import ClipShape
from pantomime.tests.core.walking import FOCAL_PX, SIZE, see, walk

TIME_S = np.arange(60) / 30
UP = np.array([0.0, -1.0, 0.0], np.float32)


def soles_at(place: tuple[float, float, float]) -> np.ndarray:
    return np.repeat(np.array(place, np.float32)[None, None], 60, 0).repeat(4, 1)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return math.degrees(math.acos(float(np.clip(a @ b, -1, 1))))


def test_a_foot_that_stays_in_the_picture_stands_though_its_depth_wanders() -> None:
    soles = soles_at((0.3, 1.4, 5.0))
    soles *= (1 + 0.06 * np.sin(2 * np.pi * 2 * TIME_S))[:, None, None].astype(np.float32)  # 4 m/s along its ray
    speed, belief = speeds(soles, TIME_S), np.ones((60, 4), np.float32)
    across = soles_at((0.3, 1.4, 5.0))
    across[..., 0] += TIME_S[:, None]
    ground = Ground(UP, -1.4, 60)
    assert find_contacts(soles, speed, belief, ground, TIME_S).mean() > 0.9
    assert not find_contacts(across, speeds(across, TIME_S), belief, ground, TIME_S).any()


def test_what_hardly_moves_for_long_is_held_whatever_its_height() -> None:
    soles, belief = soles_at((0.0, 0.9, 4.0)), np.ones((60, 4), np.float32)
    soles[30:, :2, 1] -= np.arange(30, dtype=np.float32)[:, None] / 30  # the left foot rises at 1 m/s
    speed = speeds(soles, TIME_S)
    still = find_still(speed, belief, TIME_S)
    assert not find_contacts(soles, speed, belief, Ground(UP, -1.5, 60), TIME_S).any()
    assert still[:28].all() and still[:, 2:].all() and not still[33:, :2].any()
    belief[:] = 0.1
    assert not find_still(speed, belief, TIME_S).any()


def test_whoever_lies_is_not_in_the_ground() -> None:
    soles, belief = soles_at((0.0, 1.2, 4.0)), np.ones((60, 4), np.float32)
    trunk = np.repeat(np.array([[0.1, 1.3, 4.2], [0.3, 1.35, 4.4]], np.float32)[None], 60, 0)
    speed = speeds(soles, TIME_S)
    without = find_ground(soles, speed, belief, None)
    ground = find_ground(soles, speed, belief, None, trunk=trunk)
    assert ground.height_m < without.height_m and (trunk @ ground.up).min() > ground.height_m + 0.05


def test_without_bodies_in_balance_gravity_is_that_of_a_level_camera_at_the_height_of_a_chest() -> None:
    belief = np.ones((60, 4), np.float32)
    below = find_ground(soles_at((0.0, 0.3, 4.0)), np.zeros((60, 4), np.float32), belief, None)
    # Soles little below the middle of the picture: the camera looks down, rather than lies on the floor.
    assert below.up[2] < -0.1 and abs(below.up[0]) < 0.01 and 0.3 < -below.height_m < 1.5
    body = np.array([0.0, -math.cos(0.2), -math.sin(0.2)], np.float32)
    level = find_ground(soles_at((0.0, 1.5, 4.0)), np.zeros((60, 4), np.float32), belief, None)
    told = find_ground(soles_at((0.0, 1.5, 4.0)), np.zeros((60, 4), np.float32), belief, body)
    assert angle_deg(level.up, UP) < 1.0
    assert angle_deg(told.up, body) < angle_deg(level.up, body)


def test_moments_to_look_at_are_apart_and_about_the_middle() -> None:
    rows = search_rows(np.arange(300) / 30, (30, 270), 0.1, 20)
    assert len(rows) == 20 and (np.diff(rows) == 3).all() and abs(rows.mean() - 150) < 3
    assert len(search_rows(np.arange(10) / 2, (0, 10), 0.1, 20)) == 10


@pytest.mark.parametrize("factor", [1.3, 0.77])
def test_a_walk_towards_the_camera_tells_the_focal_length(factor: float) -> None:
    torch.set_num_threads(1)
    body = load_body()
    fitter = Fitter(body, clip_settings())
    # Nothing is known of cameras here: only the walk tells.
    fitter.settings = replace(fitter.settings, focal_sigma=10.0)
    truth = walk(body, 30, rate=10.0, heading_deg=15.0, distance_m=5.0)
    seen = see(body, truth)
    betas = np.zeros(body.num_betas, np.float32)
    shape = ClipShape(betas, factor * FOCAL_PX, "fitted", (SIZE[0] / 2, SIZE[1] / 2))
    found = clip_focal(ClipFitter(fitter), seen, shape, SIZE)
    assert abs(math.log(found / FOCAL_PX)) < 0.5 * abs(math.log(factor))
    # Somebody who stays where they are tells nothing.
    across = see(body, walk(body, 12, rate=10.0, heading_deg=90.0, distance_m=8.0))
    assert clip_focal(ClipFitter(fitter), across, shape, SIZE) == shape.focal_px
