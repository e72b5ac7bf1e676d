"""A photo on the body: what was seen is the photo's, what was not is a soft guess from it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.texture.evidence import person_mask, vertex_trust
from pantomime.core.texture.fill import spread
from pantomime.core.texture.project import PhotoView, Texture, TextureError, TextureSettings, make_texture
from pantomime.core.texture.surface import mirror_vertices, surface_of, vertex_normals

SETTINGS = TextureSettings(size=512)
FOCAL_PX, WIDTH, HEIGHT = 700.0, 640, 480
CLOTH, SKIN, BACKGROUND = (30, 60, 200), (220, 160, 130), (0, 255, 0)


@pytest.fixture(scope="module")
def vertices(body: BodyModel) -> NDArray[np.float32]:
    """The body at rest 2.6 m before the camera, facing it."""
    return (body.v_template * np.array([1.0, -1.0, -1.0]) + np.array([0.0, 0.2, 2.6])).astype(np.float32)


@pytest.fixture(scope="module")
def pixels(vertices: NDArray[np.float32]) -> NDArray[np.float64]:
    return vertices[:, :2] / vertices[:, 2:] * FOCAL_PX + np.array([WIDTH / 2, HEIGHT / 2])


def photo(body: BodyModel, pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Blue clothes to the wrists, skin on hands and head, before green."""
    rgb = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    bare = body.weights[:, [JOINT_INDEX["head"], JOINT_INDEX["jaw"]]].sum(axis=1) > 0.5
    bare[np.concatenate([body.vertex_groups["left_hand"], body.vertex_groups["right_hand"]])] = True
    for colour, choice in ((CLOTH, ~bare[body.faces].any(axis=1)), (SKIN, bare[body.faces].any(axis=1))):
        for triangle in body.faces[choice]:
            cv2.fillConvexPoly(rgb, np.rint(pixels[triangle] * 16).astype(np.int32), colour, cv2.LINE_8, 4)
    return rgb


def view(rgb: NDArray[np.uint8], mask: NDArray[np.float32] | None = None) -> PhotoView:
    return PhotoView(rgb, FOCAL_PX, (WIDTH / 2, HEIGHT / 2), None, mask)


def at_vertices(body: BodyModel, texture: Texture) -> NDArray[np.float64]:
    """The texture's colour at each vertex (V, 3)."""
    colours = np.zeros((body.num_vertices, 3))
    place = (body.uv_coords * [1, -1] + [0, 1]) * len(texture.rgb)
    row_column = np.clip(place, 0, len(texture.rgb) - 1).astype(int)
    corner = body.quads >= 0
    uv = body.quad_uvs[corner]
    colours[body.quads[corner]] = texture.rgb[row_column[uv, 1], row_column[uv, 0]]
    return colours


def close(colours: NDArray[np.float64], expected: tuple[int, int, int], within: float = 40.0) -> NDArray[np.bool_]:
    return np.abs(colours - np.array(expected)).max(axis=1) < within


@pytest.fixture(scope="module")
def dressed(body: BodyModel, vertices: NDArray[np.float32], pixels: NDArray[np.float64]) -> Texture:
    return make_texture(body, vertices, view(photo(body, pixels)), None, SETTINGS)


def test_front_and_back_are_dressed_and_nothing_of_the_background_comes_in(
    body: BodyModel, dressed: Texture, vertices: NDArray[np.float32]
) -> None:
    colours = at_vertices(body, dressed)
    trunk = surface_of(body, SETTINGS.size).trunk
    normals = vertex_normals(vertices, body.faces)
    for side in (normals[:, 2] < -0.5, normals[:, 2] > 0.5):
        assert close(colours[trunk & side], CLOTH).mean() > 0.98
    skin = np.isin(np.arange(body.num_vertices), body.quads[body.material_ids == 0])
    greenish = (colours[:, 1] > colours[:, 0] + 40) & (colours[:, 1] > colours[:, 2] + 40)
    assert (greenish & skin).sum() == 0
    hands = np.concatenate([body.vertex_groups["left_hand"], body.vertex_groups["right_hand"]])
    assert close(colours[hands], SKIN, 60).mean() > 0.9


def test_a_pattern_lies_where_the_camera_saw_it(
    body: BodyModel, vertices: NDArray[np.float32], pixels: NDArray[np.float64]
) -> None:
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    rgb = np.stack([255 * x / WIDTH, 255 * y / HEIGHT, np.full_like(x, 90)], axis=2).astype(np.uint8)
    texture = make_texture(body, vertices, view(rgb), None, SETTINGS)
    facing = vertex_normals(vertices, body.faces)[:, 2] < -0.9
    trunk = surface_of(body, SETTINGS.size).trunk
    expected = np.stack([255 * pixels[:, 0] / WIDTH, 255 * pixels[:, 1] / HEIGHT, np.full(len(pixels), 90)], axis=1)
    error = np.abs(at_vertices(body, texture) - expected)[facing & trunk]
    assert np.median(error) < 1.5
    assert np.percentile(error, 90) < 6.0  # where texels are coarser than vertices, neighbours are read


def test_what_is_hidden_on_one_side_comes_from_the_other(
    body: BodyModel, vertices: NDArray[np.float32], pixels: NDArray[np.float64]
) -> None:
    rgb = photo(body, pixels)
    left = body.v_template[:, 0] > 0.0
    chest = body.J_template[JOINT_INDEX["spine3"]] + np.array([0.08, 0.0, 0.15])
    place = pixels[np.linalg.norm(body.v_template - chest, axis=1).argmin()]
    cv2.circle(rgb, (round(place[0]), round(place[1])), 9, (250, 250, 0), -1)  # a badge on the person's left chest
    trust = np.where(left, 1.0, 0.0).astype(np.float32)
    colours = at_vertices(body, make_texture(body, vertices, view(rgb), trust, SETTINGS))
    yellow = close(colours, (250, 250, 0), 70)
    assert yellow[left].any()
    mirror = mirror_vertices(body.v_template)
    assert yellow[mirror[yellow & left]].mean() > 0.7


def test_without_a_view_of_the_hands_they_take_the_faces_tone(
    body: BodyModel, vertices: NDArray[np.float32], pixels: NDArray[np.float64]
) -> None:
    points = np.full(33, 0.9, np.float32)
    for name in ("left_wrist", "right_wrist"):
        points[POSE33.index(name)] = 0.1
    seen = Observation((WIDTH, HEIGHT), np.zeros(4, np.float32), 1.0, {"pose33": Points(np.zeros((33, 2)), points)})
    trust = vertex_trust(body, seen)
    fingers = body.weights[:, 25:].sum(axis=1) > 0.9
    assert trust[fingers].max() < 0.1
    assert trust[body.weights[:, JOINT_INDEX["spine3"]] > 0.9].min() == pytest.approx(1.0)
    rgb = photo(body, pixels)
    arms = np.abs(pixels[:, 0] - WIDTH / 2) > 130
    low, high = pixels[arms].min(axis=0).astype(int), pixels[arms].max(axis=0).astype(int)
    rgb[low[1] : high[1], : WIDTH // 2 - 150] = (90, 0, 90)
    rgb[low[1] : high[1], WIDTH // 2 + 150 :] = (90, 0, 90)
    colours = at_vertices(body, make_texture(body, vertices, view(rgb), trust, SETTINGS))
    assert close(colours[fingers], SKIN, 50).mean() > 0.95


def test_the_mask_keeps_out_what_hides_the_body(
    body: BodyModel, vertices: NDArray[np.float32], pixels: NDArray[np.float64]
) -> None:
    rgb = photo(body, pixels)
    mask = (rgb != BACKGROUND).any(axis=2).astype(np.float32)
    rgb[200:240] = BACKGROUND  # a bar before the trunk
    mask[200:240] = 0.0
    texture = make_texture(body, vertices, view(rgb, mask), None, SETTINGS)
    colours = at_vertices(body, texture)
    trunk = surface_of(body, SETTINGS.size).trunk
    assert close(colours[trunk], CLOTH).mean() > 0.98
    assert 0.5 < texture.agreement < 1.0


def test_a_mask_lies_over_its_box() -> None:
    box = np.array([100.0, 50.0, 300.0, 250.0], np.float32)
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    whole = person_mask(Observation((400, 300), box, 1.0, {}, mask, box))
    assert whole is not None and whole.shape == (300, 400)
    assert whole[150, 200] == pytest.approx(1.0)
    assert whole[60, 110] == 0.0
    assert whole.sum() == pytest.approx(100.0 * 100.0, rel=0.02)


def test_colours_spread_to_the_average_of_their_neighbours() -> None:
    count = 30
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1).astype(np.int32)
    colours, trust = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    colours[-1], trust[[0, -1]] = 100.0, 1e4
    found = spread(colours, trust, edges, np.ones(count - 1, np.float32), np.zeros(3, np.float32), tolerance=1e-7)
    assert found[:, 0] == pytest.approx(np.linspace(0.0, 100.0, count), abs=0.5)


def test_every_vertex_mirrors_to_one_that_mirrors_back(body: BodyModel) -> None:
    mirror = mirror_vertices(body.v_template)
    assert (mirror[mirror] == np.arange(body.num_vertices)).all()
    assert np.abs(body.v_template[mirror] * [-1, 1, 1] - body.v_template).max() < 1e-3


def test_what_cannot_be_projected_is_said(body: BodyModel, vertices: NDArray[np.float32]) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(TextureError, match="outside"):
        make_texture(body, vertices + np.array([9, 0, 0], np.float32), view(rgb), None, SETTINGS)
    with pytest.raises(TextureError, match="not the body's"):
        make_texture(body, vertices[:-1], view(rgb), None, SETTINGS)
    with pytest.raises(TextureError, match="shows nothing"):
        make_texture(body, vertices, view(rgb, np.zeros((HEIGHT, WIDTH), np.float32)), None, SETTINGS)
