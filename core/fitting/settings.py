"""All weights and stages of the fit, as data, in one place. σ are standard deviations: smaller pulls harder."""

from __future__ import annotations

from dataclasses import dataclass, field

from .known import KnownSettings
from .mistaken import MistakenSettings
from .straight import StraightSettings
from .unseen import HangSettings

INF = float("inf")


@dataclass(frozen=True)
class Stage:
    """One solve. Later stages start where the one before ended."""

    name: str
    max_steps: int
    robust_width: float  # Geman–McClure width in σ; annealed from stage to stage
    sets: tuple[str, ...]  # point sets used; a missing one is skipped
    betas: int  # how many shape components are free
    hands: bool = False
    face: bool = False
    focal: bool = False
    body: bool = True
    silhouette: bool = False  # lay the outline on the edge of the mask; skipped without one
    collision: bool = False  # keep parts out of each other; skipped where none overlap
    tolerance: float = 2e-3
    least_noise: float = 0.1  # σ of points that are known, over a detector's: no body is quite the one in the picture


BODY_SETS = ("pose33", "body25", "coco17", "feet6")
HAND_SETS = ("left_hand", "right_hand")
FACE_SETS = ("face468", "face68")
ALL_SETS = BODY_SETS + HAND_SETS + FACE_SETS


@dataclass(frozen=True)
class FitSettings:
    """How to fit. Defaults were set on the tuning set of rendered people and on real photos."""

    stages: tuple[Stage, ...] = (
        Stage("body, wide", 5, 8.0, BODY_SETS, betas=4, tolerance=1e-2, least_noise=0.3),
        Stage("body", 4, 4.0, BODY_SETS, betas=10, focal=True, tolerance=5e-3, least_noise=0.2),
        Stage(
            "hands, wide",
            5,
            8.0,
            BODY_SETS + HAND_SETS,
            betas=10,
            hands=True,
            focal=True,
            silhouette=True,
            tolerance=1e-2,
            least_noise=0.15,
        ),
        Stage("all", 8, 3.0, ALL_SETS, betas=1000, hands=True, face=True, focal=True, silhouette=True, tolerance=4e-3),
        # Shape stays: a body must not grow thin to keep out of itself. Steps are those of one round (`apart`).
        Stage(
            "apart",
            8,
            3.0,
            ALL_SETS,
            betas=0,
            hands=True,
            silhouette=True,
            collision=True,
            tolerance=5e-4,
        ),
    )
    # 2D points: σ as a share of the size of the person (body), the hand or the face in the picture.
    sigma_2d: dict[str, float] = field(
        default_factory=lambda: {
            "pose33": 0.02,
            "body25": 0.018,
            "coco17": 0.018,
            "feet6": 0.018,
            "left_hand": 0.05,
            "right_hand": 0.05,
            "face468": 0.022,
            "face68": 0.03,
        }
    )
    # A point's share in the energy: many points of one small thing are not independent evidence.
    set_weight: dict[str, float] = field(default_factory=lambda: {"face468": 0.4, "face68": 0.5})
    min_confidence: float = 0.2  # mean of a hand's points, below which its metric points do not start a fit
    max_face_points: int = 100
    # The mask's edge: σ and reach as shares of the person's size in the picture. 0 weight: without it.
    # A point's share in the energy. Rendered people, whose clothes are tight, are 1 mm better with 1.0, but then a
    # space suit pushes the shoulders inside off their points.
    silhouette: float = 0.5
    silhouette_sigma: float = 0.006
    silhouette_spacing: float = 0.03
    silhouette_level: float = 0.45  # probability at which the mask ends
    silhouette_reach: float = 0.06  # how far across the edge the outline is looked for
    silhouette_width: float = 0.012  # the same along it
    silhouette_margin: float = 0.02  # from the picture's edge, where the mask ends but the person does not
    silhouette_trust: float = 0.25  # of a limb whose outline counts
    silhouette_robust_width: float = 3.0
    # 3D hints: σ of a bone's direction in radians, by kind.
    hint_sigma: dict[str, float] = field(
        default_factory=lambda: {"torso": 0.22, "limb": 0.38, "extremity": 0.45, "head": 0.35, "hand": 0.25}
    )
    hint_robust_width: float = 2.5
    learned_prior: bool = True  # the learned pose prior instead of the Gaussian one
    pose_prior: float = 1.0  # weight (1/σ scale) of the learned one
    gaussian_prior: float = 0.85  # the same of the Gaussian one
    # What the regressor says, by its own σ: a weight on all of it (0 = without it), on rotations, and on directions.
    regressor: float = 1.2
    regressor_rotations: float = 1.0
    regressor_directions: float = 1.0
    regressor_least_sigma: float = 0.05  # radians
    regressor_robust_width: float = 3.0
    unseen_regressed: float = 2.5  # times unseen_…sigma_rad where the regressor too says how unseen limbs may be
    joint_limit: float = 6.0  # 1/rad beyond a limit
    hand_limit: float = 20.0  # the same of wrists and fingers: hands are often seen wrongly
    collision_sigma_m: float = 0.012  # of the depth to which parts overlap; INF lets them
    collision_near_m: float = 0.06  # pairs that are farther apart are not looked at in a round
    collision_rounds: int = 4
    collision_trust: float = 0.1  # longest move (radians, metres) of a round that needs no look at the whole
    unseen_sigma_rad: float = 0.12  # of a body joint from the relaxed pose when nothing of its limb was seen
    unseen_hinge_sigma_rad: float = 0.6  # the same of a knee or elbow whose upper bone was seen
    relaxed_below: float = 0.4  # trust in a limb from which on nothing draws it to the relaxed pose
    upright_sigma: float = 0.3  # of the trunk's direction (unit vector) from upright in the picture
    upright_robust_width: float = 1.5
    betas_sigma: float = 0.5
    gender_margin: float = 10.0  # of twice a negative log likelihood, by which a male or female body has to be better
    height_sigma_m: float = 0.001  # of a height that the user gives
    expression_sigma: float = 0.45  # bounded (ARKit) components
    # The same of components by the start of their names: how high brows sit and how wide eyes and mouths are differs
    # between people by as much as an expression moves them. What the face reader is sure of outweighs it.
    expression_sigma_of: dict[str, float] = field(
        default_factory=lambda: {"brow": 0.15, "noseSneer": 0.15, "eyeWide": 0.15, "mouthPucker": 0.25}
    )
    expression_reader: float = 2.0  # weight on what the face mesh says of them, over its own σ; 0 = without it
    gaze_reader: float = 1.0  # weight on where the face says that eyes look, over its own σ; 0 = straight ahead
    hand_reader: bool = True  # fingers bend as the reader of hands says, not as the detector's metric points do
    lid_sigma: float = 0.1  # of the eyeLook… components from what lids do that follow a gaze
    face_score_sigma: float = 0.1  # of a detector's own scores of ARKit's components
    free_expression_sigma: float = 1.0  # SMPL-X components
    hand_prior: float = 1.3  # weight (1/σ scale) of the prior of hands
    hand_sigma_rad: float = 0.45  # of each finger joint where that prior is not to be had
    jaw_sigma_rad: tuple[float, float, float] = (0.15, 0.03, 0.03)
    bounded_jaw_sigma_rad: float = 0.01  # jawOpen, jawLeft … do the jaw's work where they exist
    eye_sigma_rad: tuple[float, float] = (0.2, 0.12)  # of both eyes from straight ahead, sideways and up
    straight: StraightSettings = field(default_factory=StraightSettings)  # legs that are seen straight
    mistaken: MistakenSettings = field(default_factory=MistakenSettings)  # hands taken for the other side's
    known: KnownSettings = field(default_factory=KnownSettings)  # points that are known
    hang: HangSettings = field(default_factory=HangSettings)  # limbs that were not seen
    focal_guess: float = 1.15  # times the longer side of the picture, when nothing is known
    focal_sigma: float = 0.25  # of its logarithm, when nothing is known
    focal_known_sigma: float = 0.01  # when EXIF or the user gave it
    start_yaws: int = 4  # global orientations tried when there are no 3D hints
