"""Who is in the picture: proposals at a low threshold, each seen again in its own crops, and only the steady ones kept.

The pose network is nearly as sure of a person that it makes up as of a real one; but a real one is found again in
another crop within a few per cent of their size, and an invented one is not. On the pictures tried the gap is wide:
real people differ by at most 0.09 of their size between crops, invented ones by at least 0.37.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import LIMBS, Candidate, box_of, choose, distance, distinct_people, from_crop, inside, pixels_per_metre
from .crops import Square, cut, fit_within
from .prominence import by_prominence

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Network = Callable[[list[Image]], list[list[Candidate]]]

_UPSIDE_DOWN = np.radians(120.0)  # of the trunk from upright
_UPRIGHT = np.radians(60.0)
HeadScale = Callable[[Candidate], float | None]


@dataclass(frozen=True)
class PeopleSettings:
    """How people are looked for in a photo, and when somebody is believed."""

    longest_px: int = 1024  # the whole picture is reduced to this for the pose; crops come from full resolution
    crop_px: int = 448  # a person's crop for the pose network, at most
    crop_scale: float = 1.25  # side of the mirrored crop over the longer side of the person's box
    agree: float = 0.12  # of a person's size: how far two detections of one pose may differ
    same_person: float = 0.25  # of a person's size: nearer ones are one person
    sure: float = 0.8  # mean visibility of limbs in the picture; below it more crops are tried
    # Turn and scale of these crops, and of those tried after them where nothing agrees yet.
    looks: tuple[tuple[float, float], ...] = ((0.0, 1.6), (-0.35, 1.25), (0.35, 1.6), (-0.8, 1.4), (0.8, 1.4))
    far_looks: tuple[tuple[float, float], ...] = ((0.0, 1.25), (1.57, 1.25), (-1.57, 1.25), (3.14, 1.25))
    # Upright people behind things are now and then taken for some upside down, of an arm or a leg alone. Cartwheels are
    # seen more surely than this; below it, whom wider crops show upright in the same place is taken instead.
    sure_upside_down: float = 0.9
    wide_looks: tuple[tuple[float, float], ...] = ((0.0, 2.2), (-0.35, 2.2), (0.35, 2.2))  # each mirrored, too
    plenty: float = 0.5  # share of views that agree with another one; below it that may be chance
    enough_looks: int = 2  # where all that was seen agrees, and only little of the person is in the picture
    scale_slack: float = 0.1  # log of body scale over head scale that costs nothing
    scale_weight: float = 1.5  # what a further unit costs, in units of limb visibility
    least_visibility: float = 0.25  # mean over the limbs in the picture; below it there is no person
    tiles: tuple[float, ...] = (0.75, 0.45)  # sides of tiles over the picture's longer side, where it is crowded
    tile_overlap: float = 0.5
    most_proposals: int = 24
    patience: int = 5  # proposals that may turn out to be nobody new before the rest of a picture's are left


@dataclass(frozen=True)
class _Search:
    rgb: Image
    network: Network
    settings: PeopleSettings
    head_scale: HeadScale

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[0]


def find_people(
    rgb: Image, network: Network, settings: PeopleSettings, most: int, head_scale: HeadScale = lambda person: None
) -> list[Candidate]:
    """The people in a picture, at most `most`, whom it is of first: large, whole, sharp, in its middle.

    `network` detects people in each of some pictures or crops.

    `head_scale`: pixels a metre at a person's head, from the face, where one is seen; it tells apart detections that
    squeeze a body whose lower half is outside of the picture into what is inside.

    One steady person who fills a good part of the picture is taken at once. Otherwise, with several people, with none,
    or where a proposal turns out to be made up, the picture is searched in tiles as well.
    """
    search = _Search(rgb, network, settings, head_scale)
    size = search.size
    small, back = fit_within(rgb, settings.longest_px)
    proposals = [from_crop(item, back, 0.0, False) for item in network([small])[0]]
    people, rest = _verify(search, proposals, [])
    if len(people) != 1 or rest or not _fills(people[0], size):
        seen = list(rest)
        seen += [item for look in _in_squares(search, _tiles(size, settings)) for item in look]
        people, _ = _verify(search, seen, people)
    if not people and proposals:
        # Nothing is steady, as in a blurred or extreme picture: the best guess is better than none, and says so.
        best = max(proposals, key=lambda item: item.limb_visibility)
        if believable(best, size) >= 2.0 * settings.least_visibility:
            people = [_doubted(best, 0.5)]
    people.sort(key=lambda item: -area(box_of(item, size)))
    return by_prominence(people, rgb)[:most]


def believable(person: Candidate, size: tuple[int, int]) -> float:
    """Mean visibility of the limb points that lie in the picture (the head's where hardly any does)."""
    there = inside(person.image_px[LIMBS], size)
    if there.sum() < 3:
        return float(person.visibility[:11].mean())
    return float(person.visibility[LIMBS][there].mean())


def area(box: Array) -> float:
    """Of a box x0, y0, x1, y1 in px, in px²."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _verify(
    search: _Search, proposals: list[Candidate], people: list[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """`people` with the steady ones of `proposals` added, and what crops showed besides: further proposals."""
    settings, size = search.settings, search.size
    people, others = list(people), []
    unsteady, vain = False, 0
    groups = distinct_people(proposals, settings.same_person)[: settings.most_proposals]
    if people:
        # Clutter is made a person of in one crop; who else is there is seen in several, so comes first.
        groups.sort(key=lambda group: len(group) < 2)
    for group in groups:
        if _is_known(group[0], people, settings) or believable(group[0], size) < settings.least_visibility:
            continue
        if vain >= settings.patience:
            break
        # Where somebody was found, who lies or hangs upside down is not looked for in every heap of things.
        person, neighbours = _look_again(search, group, far=not people)
        others += neighbours
        unsteady |= person is None
        if (
            person is not None
            and not _is_known(person, people, settings)
            and believable(person, size) >= settings.least_visibility
        ):
            people.append(person)
        else:
            vain += 1
    rest = [item for item in others if not _is_known(item, people, settings)]
    return people, rest if rest or not unsteady else proposals[:1]


def _is_known(candidate: Candidate, people: list[Candidate], settings: PeopleSettings) -> bool:
    return any(len(distinct_people([candidate, person], settings.same_person)) == 1 for person in people)


def _look_again(search: _Search, group: list[Candidate], far: bool) -> tuple[Candidate | None, list[Candidate]]:
    """The person seen in a mirrored crop, and in turned ones if that disagrees or little is seen; None if unsteady.

    `group`: what is known of the person, best first. `far`: also in crops that are turned all the way. Also returns
    what else the crops showed.
    """
    settings = search.settings
    proposal = group[0]
    candidates, neighbours = list(group), []

    def look(looks: tuple[tuple[float, float], ...], mirrored: bool = False) -> Candidate | None:
        """What the last one of some crops, each of a turn and a scale, shows of the person."""
        own = None
        for found in _in_crops(search, box_of(proposal, search.size), looks, mirrored):
            found.sort(key=lambda item: distance(proposal, item))
            own = found.pop(0) if found and distance(proposal, found[0]) <= 2.0 * settings.same_person else None
            candidates.extend([own] if own is not None else [])
            neighbours.extend(found)
        return own

    mirrored = look(((0.0, settings.crop_scale),), True)
    sure = mirrored is not None and distance(proposal, mirrored) <= settings.agree
    head = None
    if not sure or believable(proposal, search.size) < settings.sure:
        always = settings.enough_looks if sure else len(settings.looks)
        look(settings.looks[:always])
        for further in settings.looks[always:]:
            if len(_agreeing(candidates, settings)) == len(candidates):
                break
            look((further,))
        if far and not _agreeing(candidates, settings):
            look(settings.far_looks)
        head = search.head_scale(proposal)
    agreeing = _agreeing(candidates, settings)
    if not agreeing:
        return None, neighbours
    chosen = choose(agreeing, settings.agree, lambda item: _rank(item, head, settings))
    if len(agreeing) < settings.plenty * len(candidates) and not _confirmed(search, chosen):
        return None, neighbours
    if abs(_turn(chosen)) > _UPSIDE_DOWN and chosen.limb_visibility < settings.sure_upside_down:
        upright = _seen_upright(search, chosen)
        if upright:
            chosen, agreeing = choose(upright, settings.agree, lambda item: _rank(item, head, settings)), upright
    neighbours = [item for item in neighbours if distance(chosen, item) > settings.same_person]
    return _doubted(chosen, 1.0, agreeing), neighbours


def _turn(person: Candidate) -> float:
    """Angle of the trunk from upright in the picture, radians, −π…π, from its x axis towards its y axis."""
    up = person.image_px[[11, 12]].mean(axis=0) - person.image_px[[23, 24]].mean(axis=0)
    return float(np.arctan2(up[0], -up[1]))


def _seen_upright(search: _Search, person: Candidate) -> list[Candidate]:
    """Those upright where `person` is, of wider crops, that agree; none unless half of these crops show one."""
    settings, box = search.settings, box_of(person, search.size)
    seen = []
    squares = [_crop(box, turn, scale, mirrored) for turn, scale in settings.wide_looks for mirrored in (False, True)]
    for look in _in_squares(search, squares):
        found = [item for item in look if abs(_turn(item)) < _UPRIGHT]
        found = [item for item in found if _covered(box, box_of(item, search.size)) > 0.5]
        seen += sorted(found, key=lambda item: -item.limb_visibility)[:1]
    agreeing = _agreeing(seen, settings)
    return agreeing if len(agreeing) >= len(settings.wide_looks) else []


def _covered(box: Array, other: Array) -> float:
    """Share of a box that lies in another one."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    return float(np.prod(np.maximum(high - low, 0.0))) / max(area(box), 1e-6)


def _confirmed(search: _Search, person: Candidate) -> bool:
    """Whether the person is found once more, mirrored, in a crop of their own that has their torso upright."""
    look = (_turn(person), search.settings.crop_scale)
    (found,) = _in_crops(search, box_of(person, search.size), (look,), True)
    return any(distance(person, item) <= search.settings.agree for item in found)


def _rank(candidate: Candidate, head_scale: float | None, settings: PeopleSettings) -> float:
    """Mean limb visibility, less what a body of another scale than its head costs."""
    if head_scale is None:
        return candidate.limb_visibility
    apart = abs(float(np.log(pixels_per_metre(candidate) / head_scale)))
    return candidate.limb_visibility - settings.scale_weight * max(0.0, apart - settings.scale_slack)


def _agreeing(candidates: list[Candidate], settings: PeopleSettings) -> list[Candidate]:
    """Those that at least one other one confirms."""
    return [
        item
        for item in candidates
        if any(other is not item and distance(item, other) <= settings.agree for other in candidates)
    ]


def _doubted(person: Candidate, factor: float, views: list[Candidate] | None = None) -> Candidate:
    """Visibility lowered by `factor`, and for each point by how far the views of it lie apart."""
    visibility = person.visibility * factor
    if views is not None and len(views) > 1:
        gaps = [np.linalg.norm(view.image_px - person.image_px, axis=1) for view in views]
        apart = np.median(gaps, axis=0) / max(person.size_px(), 1.0)
        # At 8 % of the person's size, three times what is usual, half the belief is left.
        visibility = visibility / (1.0 + (apart / 0.08) ** 2)
    return Candidate(person.image_px, visibility.astype(np.float32), person.world_m, person.mask, person.mask_matrix)


def _in_crops(
    search: _Search, box: Array, looks: tuple[tuple[float, float], ...], mirrored: bool
) -> list[list[Candidate]]:
    """Everybody in the squares around a box, each of a turn and a scale, in the picture's pixels."""
    return _in_squares(search, [_crop(box, turn_rad, scale, mirrored) for turn_rad, scale in looks])


def _crop(box: Array, turn_rad: float, scale: float, mirrored: bool) -> Square:
    """The square around a box."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(x1 - x0, y1 - y0, 16.0) * scale
    return Square(((x0 + x1) / 2.0, (y0 + y1) / 2.0), side, turn_rad, mirrored)


def _in_squares(search: _Search, squares: list[Square]) -> list[list[Candidate]]:
    """Everybody in each of some parts of the picture, in its pixels."""
    sizes = [int(min(search.settings.crop_px, max(128.0, square.side_px))) for square in squares]
    pictures = [cut(search.rgb, square, out_px) for square, out_px in zip(squares, sizes, strict=True)]
    return [
        [from_crop(item, square.matrix(out_px), square.angle_rad, square.mirrored) for item in look]
        for square, out_px, look in zip(squares, sizes, search.network(pictures), strict=True)
    ]


def _fills(person: Candidate, size: tuple[int, int]) -> bool:
    """Whether a person is so large in the picture that a second one of the kind would have been seen too."""
    x0, y0, x1, y1 = box_of(person, size)
    return float(max(x1 - x0, y1 - y0)) >= 0.3 * max(size)


def _tiles(size: tuple[int, int], settings: PeopleSettings) -> list[Square]:
    tiles = []
    for share in settings.tiles:
        side = share * max(size)
        steps = [max(1, int(np.ceil((length - side) / (side * settings.tile_overlap))) + 1) for length in size]
        centres = [
            np.linspace(min(side, length) / 2.0, length - min(side, length) / 2.0, count)
            for length, count in zip(size, steps, strict=True)
        ]
        tiles += [Square((float(x), float(y)), side) for y in centres[1] for x in centres[0]]
    return tiles
