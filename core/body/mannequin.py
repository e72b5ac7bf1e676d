"""Pictures of the body that a detector takes for photos of a person: skin, hair, brows and clothes painted by region.

Only for calibration. Colours are functions of the place on the T-pose template, so they are crisp at any resolution
and the same for every shape and pose. numpy only.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .model import BodyModel
from .raster import Hits, rasterise
from .skeleton import JOINT_INDEX

Float = NDArray[np.float32]

HAIR_M = 0.016  # how far the cap of hair stands off the scalp
# Half angles seen from the eyeball's middle: an iris of 11.8 mm and a pupil of 4 mm on a shell of 16.5 mm radius.
_IRIS_DEG, _PUPIL_DEG = 21.0, 7.0
_MATERIAL_COLOURS = {
    "lips": (0.62, 0.30, 0.28),
    "nails": (0.85, 0.66, 0.60),
    "mouth": (0.25, 0.08, 0.08),
    "sclera": (0.92, 0.91, 0.89),
    "iris": (0.24, 0.16, 0.10),
    "pupil": (0.02, 0.02, 0.02),
    "lashes": (0.08, 0.06, 0.05),
    "teeth": (0.9, 0.88, 0.83),
    "tongue": (0.6, 0.25, 0.25),
}


@dataclass(frozen=True)
class Look:
    """Linear colours, each (3,) 0…1."""

    skin: Float
    hair: Float
    shirt: Float
    trousers: Float
    shoes: Float
    background: Float  # (2, 3) top and bottom
    brows: Float | None = None  # colour (3,); None: the hair's
    brow_raise_m: float = 0.0  # how much higher they grow than usual
    brow_size: float = 1.0  # how thick they are, times the usual
    brow_slant: float = 0.0  # how much higher they end than usual, m a metre outwards
    fringe_m: float = 0.0  # how far hair reaches down the forehead from the hairline
    beard: float = 0.0  # how much hair on cheeks, chin and upper lip, 0…1
    frame_m: float = 0.0  # how thick the frame of glasses is; 0: none
    frame_size: float = 1.0  # of that frame, times the usual
    forehead_lines: float = 0.0  # how dark lines across the forehead are, 0…1
    frown_lines: float = 0.0  # the same of lines between the brows
    mottled: float = 0.0  # how much brighter and darker skin is in places, 0…1
    mottle: Float | None = None  # (K, 4) waves of it: 1/m along x, y and z, and a phase
    iris: Float | None = None  # colour (3,)


def random_look(rng: np.random.Generator) -> Look:
    """Skin from light to dark, any hair and clothes, a plain background."""
    shade = rng.uniform(0.25, 1.0)
    skin = shade * np.array([0.78, 0.54, 0.42]) + (1 - shade) * np.array([0.28, 0.16, 0.10])
    hair = rng.uniform(0.01, 0.16) * np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.35, 0.9)])
    cloth = rng.uniform(0.03, 0.75, (3, 3))
    parts = [np.asarray(item, np.float32) for item in (skin, hair, cloth[0], cloth[1], cloth[2] * 0.5)]
    background = rng.uniform(0.15, 0.85, (2, 3)).astype(np.float32)
    return Look(parts[0], parts[1], parts[2], parts[3], parts[4], background)


class Mannequin:
    """A body made ready for pictures: triangles with their materials, and where on it hair, brows and clothes are."""

    def __init__(self, body: BodyModel) -> None:
        self.body = body
        self.faces = body.faces
        self.template = body.v_template
        self.face_material = material_of_faces(body)
        joint = body.J_template
        eyes = [joint[JOINT_INDEX[f"{side}_eye_smplhf"]] for side in ("left", "right")]
        self.eye_x, self.eye_y, self.eye_z = float(eyes[0][0]), float(eyes[0][1]), float(eyes[0][2])
        self.joint = {name: joint[index] for name, index in JOINT_INDEX.items()}
        head = np.zeros(len(self.template), bool)
        head[body.vertex_groups["head"]] = True
        self.hair_push = np.where(head, self.hair_amount(self.template), 0.0).astype(np.float32)

    def above(self, height: float) -> Mannequin:
        """The part of it that lies above a height of the template, metres: quicker to paint."""
        return self.of(self.template[:, 1] > height)

    def of(self, vertices: NDArray[np.bool_]) -> Mannequin:
        """The part of it whose triangles have all their corners among `vertices` (V,)."""
        part = copy.copy(self)
        kept = vertices[self.faces].all(axis=1)
        part.faces, part.face_material = self.faces[kept], self.face_material[kept]
        return part

    def hair_amount(self, places: Float) -> Float:
        """0…1 for places (…, 3) on the head's template: 1 on the scalp, sloping to 0 at the hairline."""
        x, y, z = np.abs(places[..., 0]), places[..., 1] - self.eye_y, self.eye_z - places[..., 2]
        # The line runs over the forehead, down before the ear, around it, to the nape.
        front = y - np.interp(x, [0.0, 0.045, 0.062], [0.072, 0.062, 0.030])
        ear_line = np.interp(z, [0.05, 0.068, 0.08, 0.115, 0.14], [0.035, 0.0, 0.03, 0.025, -0.07])
        side = np.where(z > 0.05, y - ear_line, -1.0)
        amount: Float = np.clip(np.maximum(front, side) / 0.02, 0.0, 1.0).astype(np.float32)
        return amount

    def brow_amount(self, places: Float, raise_m: float = 0.0, size: float = 1.0, slant: float = 0.0) -> Float:
        """0…1 for places (…, 3) on the template: the brows, some 20 mm above the middle of the eye."""
        out, up = np.abs(places[..., 0]) - self.eye_x, places[..., 1] - self.eye_y - raise_m
        up = up - slant * out
        middle = np.interp(out, [-0.020, 0.010, 0.030], [0.0175, 0.0225, 0.0165])
        half = size * np.interp(out, [-0.020, -0.012, 0.012, 0.030], [0.0025, 0.0042, 0.0034, 0.0006])
        within = (out > -0.020) & (out < 0.030) & (places[..., 2] > self.eye_z - 0.04)
        amount = np.where(within, np.clip((half - np.abs(up - middle)) / 0.0012 + 0.5, 0.0, 1.0), 0.0)
        return np.asarray(amount, np.float32)

    def colours(self, places: Float, material: NDArray[np.uint8], look: Look) -> Float:
        """Linear colour (N, 3) of template places (N, 3) with a material each."""
        names = self.body.material_names
        x, y = np.abs(places[:, 0]), places[:, 1]
        colour = np.repeat(look.skin[None], len(places), axis=0)
        is_skin = material == names.index("skin")

        def paint(amount: Float | NDArray[np.bool_], value: Float) -> None:
            share = np.where(is_skin, np.asarray(amount, np.float32), 0.0)[:, None]
            colour[:] = colour * (1.0 - share) + value * share

        waist, knee = self.joint["spine1"][1], self.joint["left_ankle"][1]
        neck, sleeve = self.joint["neck"][1], 0.5 * (self.joint["left_shoulder"][0] + self.joint["left_elbow"][0])
        paint((y > waist - 0.03) & (y < neck - 0.035 + 0.35 * np.clip(x - 0.06, 0, 0.1)) & (x < sleeve), look.shirt)
        paint((y <= waist - 0.03) & (y > knee + 0.05) & (x < 0.45), look.trousers)
        paint(y < knee + 0.01, look.shoes)
        on_head = (y > self.joint["head"][1] - 0.12) & (x < 0.11)
        paint(np.where(on_head, self.hair_amount(places) > 0.25, False), look.hair)
        self._age(places, colour, is_skin, look)
        if look.fringe_m:
            lifted = places + np.array([0.0, look.fringe_m, 0.0], np.float32)
            ahead = on_head & (places[:, 2] > self.eye_z - 0.05)
            paint(np.where(ahead, self.hair_amount(lifted) > 0.25, False), look.hair)
        brows = self.brow_amount(places, look.brow_raise_m, look.brow_size, look.brow_slant)
        paint(brows * 0.85, look.hair if look.brows is None else look.brows)
        for name, value in _MATERIAL_COLOURS.items():
            if name in names:
                tint = np.asarray(value, np.float32)
                if name == "lips":
                    tint = 0.5 * tint * (look.skin / look.skin.max()) + 0.5 * look.skin * np.array([1.0, 0.62, 0.66])
                colour[material == names.index(name)] = tint
        # Iris and pupil by the angle from straight ahead: the eyeball's mesh is too coarse to hold their edge.
        eye = np.array([self.eye_x, self.eye_y, self.eye_z])
        aim = np.stack([x, y, places[:, 2]], axis=1) - eye
        ahead = np.degrees(np.arccos(np.clip(aim[:, 2] / (np.linalg.norm(aim, axis=1) + 1e-9), -1.0, 1.0)))
        on_eye = np.isin(material, [names.index(name) for name in ("sclera", "iris", "pupil") if name in names])
        colour[on_eye] = _MATERIAL_COLOURS["sclera"]
        colour[on_eye & (ahead < _IRIS_DEG)] = _MATERIAL_COLOURS["iris"] if look.iris is None else look.iris
        colour[on_eye & (ahead < _PUPIL_DEG)] = _MATERIAL_COLOURS["pupil"]
        if look.frame_m:
            bridge = (np.abs(y - self.eye_y - 0.006) < 0.5 * look.frame_m) & (x < self.eye_x - 0.02)
            lens = np.hypot((x - self.eye_x - 0.001) / 1.15, y - self.eye_y + 0.003) / look.frame_size
            rim = (np.abs(lens - 0.0215) < 0.5 * look.frame_m) & (places[:, 2] > self.eye_z - 0.03)
            colour[is_skin & (rim | bridge) & on_head] = (0.03, 0.03, 0.035)
        return colour.astype(np.float32)

    def _age(self, places: Float, colour: Float, is_skin: NDArray[np.bool_], look: Look) -> None:
        """Lines, patches and a beard on the skin's colour (N, 3)."""
        x, up = np.abs(places[:, 0]), places[:, 1] - self.eye_y
        shade = np.ones(len(places), np.float32)
        if look.mottle is not None:
            waves = np.cos(places @ look.mottle[:, :3].T + look.mottle[:, 3]).mean(axis=1)
            shade *= 1.0 + look.mottled * waves
        if look.forehead_lines:
            lines = np.clip(np.cos(2 * np.pi * (up + 0.5 * x * x / 0.05) / 0.0085) - 0.55, 0, 1) / 0.45
            shade *= 1.0 - look.forehead_lines * lines * ((up > 0.032) & (up < 0.062) & (x < 0.04))
        if look.frown_lines:
            lines = np.exp(-(((x - 0.0075) / 0.0016) ** 2))
            shade *= 1.0 - look.frown_lines * lines * ((up > 0.008) & (up < 0.034))
        if look.beard:
            low = np.clip((-0.045 - 0.9 * np.clip(x - 0.02, 0, 0.03) * 0.0 - up) / 0.008, 0, 1)
            side = np.clip((x - 0.045) / 0.01, 0, 1) * np.clip((-0.02 - up) / 0.01, 0, 1)
            amount = look.beard * np.maximum(low, side) * (places[:, 2] > self.eye_z - 0.09)
            share = np.where(is_skin, amount, 0.0)[:, None]
            colour[:] = colour * (1.0 - share) + look.hair * share
        colour[is_skin] *= shade[is_skin, None]

    def picture(
        self,
        vertices: Float,
        focal_px: float,
        size: tuple[int, int],
        look: Look,
        rng: np.random.Generator,
        smooth: int = 2,
    ) -> tuple[NDArray[np.uint8], Hits]:
        """A lit picture (H, W, 3) of posed `vertices` (V, 3), camera frame, and what each pixel of it sees.

        `smooth`: samples a pixel's side for the picture; the hits are those of the bare surface (no hair) at pixel
        centres.
        """
        bare = rasterise(vertices, self.faces, focal_px, size)
        return self.paint(vertices, focal_px, size, look, rng, smooth), bare

    def paint(
        self,
        vertices: Float,
        focal_px: float,
        size: tuple[int, int],
        look: Look,
        rng: np.random.Generator,
        smooth: int = 2,
        backdrop: Float | None = None,
    ) -> NDArray[np.uint8]:
        """The picture of `picture` alone. backdrop: linear colours (H, W, 3) behind it, in place of the look's."""
        big = (size[0] * smooth, size[1] * smooth)
        behind = None if backdrop is None else backdrop.repeat(smooth, axis=0).repeat(smooth, axis=1)
        shown = self.shade(self.sight(vertices, focal_px * smooth, big), look, rng, behind)
        shown = shown.reshape(size[1], smooth, size[0], smooth, 3).mean(axis=(1, 3))
        return developed(shown, rng)

    def sight(self, vertices: Float, focal_px: float, size: tuple[int, int]) -> Sight:
        """What each pixel sees of posed `vertices` (V, 3), with hair: the same for every look and light."""
        normals = _vertex_normals(vertices, self.faces)
        dressed = vertices + HAIR_M * self.hair_push[:, None] * normals
        hits = rasterise(dressed.astype(np.float32), self.faces, focal_px, size)
        seen = hits.triangles >= 0
        triangle, place = hits.triangles[seen], hits.barycentric[seen]
        corner = self.faces[triangle]
        template = np.einsum("nk,nki->ni", place, self.template[corner])
        normal = np.einsum("nk,nki->ni", place, normals[corner])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        normal *= np.where(normal[:, 2:] > 0.0, -1.0, 1.0)
        return Sight(seen, template, self.face_material[triangle], normal)

    def shade(self, sight: Sight, look: Look, rng: np.random.Generator, backdrop: Float | None = None) -> Float:
        """Linear colours (H, W, 3) of what is seen, in a random light, before `backdrop` (the same) or the look's."""
        colour = self.colours(sight.places, sight.material, look)
        light = _light(sight.normals, rng)
        height, width = sight.seen.shape
        shown = np.empty((height, width, 3), np.float32)
        fade = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
        shown[:] = look.background[0] * (1.0 - fade) + look.background[1] * fade
        if backdrop is not None:
            shown[:] = backdrop
        shown[sight.seen] = colour * light
        return shown


@dataclass(frozen=True)
class Sight:
    """What pixels (H, W) see of a body, for the N of them that see it."""

    seen: NDArray[np.bool_]  # (H, W)
    places: Float  # (N, 3) on the template
    material: NDArray[np.uint8]  # (N,)
    normals: Float  # (N, 3) camera frame


def developed(shown: Float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear colours as a camera shows them, with a little noise."""
    display = np.clip(shown, 0.0, 1.0) ** (1.0 / 2.2) + rng.normal(0.0, 0.008, shown.shape)
    picture: NDArray[np.uint8] = (np.clip(display, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return picture


def material_of_faces(body: BodyModel) -> NDArray[np.uint8]:
    """The material of each triangle, from the quad that has its corners."""
    owner: dict[tuple[int, ...], int] = {}
    for quad, material in zip(body.quads.tolist(), body.material_ids.tolist(), strict=True):
        corners = [corner for corner in quad if corner >= 0]
        for skip in range(len(corners) if len(corners) == 4 else 1):
            triple = corners if len(corners) == 3 else corners[:skip] + corners[skip + 1 :]
            owner[tuple(sorted(triple))] = material
    return np.array([owner.get(tuple(sorted(face)), 0) for face in body.faces.tolist()], np.uint8)


def _vertex_normals(vertices: Float, faces: NDArray[np.int32]) -> Float:
    """Outward for counter-clockwise faces, in whatever frame the vertices are."""
    edges = vertices[faces]
    flat = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    total = np.zeros((len(vertices), 3))
    for k in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(faces[:, k], flat[:, axis], len(vertices))
    normals: Float = (total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
    return normals


def _light(normals: Float, rng: np.random.Generator) -> Float:
    """Brightness (N, 1): a key from one side above, a fill, and light from the sky."""
    side = rng.choice([-1.0, 1.0])
    key = np.array([side * rng.uniform(0.2, 0.9), -rng.uniform(0.4, 0.9), -1.0])
    fill = np.array([-side * 0.8, -0.2, -0.7])
    total = 0.28 + 0.12 * (1.0 - normals[:, 1:2]) / 2.0
    for direction, power in ((key, 0.75), (fill, 0.28)):
        total = total + power * np.clip(normals @ (direction / np.linalg.norm(direction)), 0.0, None)[:, None]
    result: Float = (total * rng.uniform(0.85, 1.1)).astype(np.float32)
    return result
