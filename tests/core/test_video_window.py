"""Frames of a clip fitted together: a walk whose motion is known, gaps, pins, hands and face."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import LEFT_HAND, RIGHT_HAND
from pantomime.core.capture import Capture
from pantomime.core.detection.follow import FrameSightings, Sighting
from pantomime.core.fitting.contacts import find_contacts, find_ground, speeds
from pantomime.core.fitting.evidence import joint_trust
from pantomime.core.fitting.kinematics import pose_chain
from pantomime.core.fitting.metrics import pa_error
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.quality import clip_settings
from pantomime.core.fitting.state import BodyState
from pantomime.core.fitting.video_evidence import FIRST, Seen, joint_trusts
from pantomime.core.fitting.video_fit import ClipFitter
from pantomime.core.fitting.video_parts import ClipParts, Pin
from pantomime.core.fitting.video_settings import VideoSettings
from pantomime.core.fitting.video_shape import ClipShape, KeyFit, weighted_median
from pantomime.core.fitting.video_start import _fit, anchor_rows, start_window
from pantomime.core.pipeline import PipelineSettings
from pantomime.core.rotation import exp_so3, log_so3
from pantomime.core.video_helper import HelpedFit, Helper
from pantomime.core.video_job import JobFolder
from pantomime.core.video_people import Sightings, sightings_arrays
from pantomime.core.video_person import PersonFit
from pantomime.core.video_windows import Schedule
from pantomime.tests.core.walking import FOCAL_PX, SIZE, Walk, see, walk

BODY = slice(0, 22)
FRAMES = 66


@pytest.fixture(scope="module")
def fitter(body: BodyModel) -> Fitter:
    return Fitter(body, clip_settings())


# --- a walk -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    acceleration: float  # mean error, m/s²
    pa_mm: float
    slide_mm: float  # of a standing foot, a frame
    path_m: float


def score(fitter: Fitter, truth: Walk, state: BodyState) -> Score:
    chain = pose_chain(fitter.skeleton, state)
    joints = chain.joints.float().numpy()
    rate = 1 / float(truth.time_s[1] - truth.time_s[0])
    error = np.diff(joints[:, BODY] - truth.joints[:, BODY], 2, axis=0) * rate**2
    some = [(joints[t, BODY].astype(float), truth.joints[t, BODY].astype(float)) for t in range(0, len(joints), 5)]
    pa = [pa_error(*pair) for pair in some]
    soles = ClipFitter(fitter).probe_positions(state)[:, -4:]
    moved = np.linalg.norm(np.diff(soles, axis=0), axis=-1)
    stands = np.repeat(truth.solid[1:] & truth.solid[:-1], 2, axis=1)
    return Score(
        float(np.linalg.norm(error, axis=-1).mean()),
        1000 * float(np.mean(pa)),
        1000 * float(moved[stands].mean()),
        float(np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=1).sum()),
    )


def as_state(fitter: Fitter, capture: Capture) -> BodyState:
    """A capture back in the solver's form."""
    count = capture.num_frames
    return BodyState(
        exp_so3(torch.as_tensor(capture.full_pose()).reshape(count, 55, 3)),
        torch.as_tensor(capture.transl),
        torch.full((count,), float(np.log(capture.focal_px))),
        torch.as_tensor(capture.betas).expand(count, -1),
        torch.as_tensor(capture.expression),
    )


def job(folder: JobFolder, seen: Seen, cuts: tuple[int, ...] = ()) -> Sightings:
    """What detection would have left in a job's folder."""
    frames = []
    for row in range(len(seen)):
        people = [Sighting(0, seen.observation(row, SIZE))] if seen.score[row] > 0 else []
        frames.append(FrameSightings(int(seen.index[row]), float(seen.time_s[row]), row in cuts, people))
    half = len(frames) // 2
    for number, part in enumerate((frames[:half], frames[half:])):
        folder.save(f"seen-{number:05d}", "detection", sightings_arrays(part))
    return Sightings(folder, "detection", 2)


class Stopped(Exception):
    """A run that was stopped."""


def run(
    fitter: Fitter,
    folder: Path,
    seen: Seen,
    settings: VideoSettings | None = None,
    stop_after: int | None = None,
    cuts: tuple[int, ...] = (),
    rate: float = 30.0,
) -> Capture:
    asked = [0]

    def stop() -> None:
        asked[0] += 1
        if stop_after is not None and asked[0] > stop_after:
            raise Stopped

    with JobFolder(folder) as parts:
        sightings = job(parts, seen, cuts)
        fit = PersonFit(
            fitter, sightings, sightings.people()[0], 0, SIZE, PhotoCamera(FOCAL_PX, "given"), rate, None, parts,
            "key", lambda fraction: None, stop, None, settings,
        )  # fmt: skip
        return fit.run()


# Short windows, so that a short walk has several.
SHORT = replace(VideoSettings(), keep_s=0.8, key_frames=3)
ONE = replace(VideoSettings(), keep_s=20.0, ahead_s=1.0, key_frames=3, most_keep=1000)


@pytest.fixture(scope="module")
def truth(body: BodyModel) -> Walk:
    return walk(body, FRAMES)


@pytest.fixture(scope="module")
def seen(body: BodyModel, truth: Walk) -> Seen:
    return see(body, truth)


@pytest.fixture(scope="module")
def windows(fitter: Fitter, seen: Seen, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """The walk in several windows."""
    return run(fitter, tmp_path_factory.mktemp("windows"), seen, SHORT)


def test_a_walk_is_smooth_grounded_and_goes_as_far_as_it_did(
    fitter: Fitter, truth: Walk, seen: Seen, windows: Capture
) -> None:
    parts = ClipParts(fitter, SHORT)
    shape = ClipShape(windows.betas, FOCAL_PX, "given", (SIZE[0] / 2, SIZE[1] / 2))
    with torch.inference_mode():
        alone = score(fitter, truth, _fit(parts, seen, shape, SIZE, None)[0])
    together = score(fitter, truth, as_state(fitter, windows))
    assert together.acceleration < alone.acceleration / 5
    assert together.pa_mm < alone.pa_mm
    assert together.slide_mm < 3.0
    true_path = float(np.linalg.norm(np.diff(truth.joints[:, 0], axis=0), axis=1).sum())
    assert together.path_m == pytest.approx(true_path, rel=0.05)
    assert windows.num_frames == FRAMES and windows.confidence.min() > 0.3
    np.testing.assert_allclose(windows.frame_times_s, truth.time_s, atol=1e-6)
    found = windows.contacts.astype(bool)
    expected = np.repeat(truth.solid, 2, axis=1)
    assert (found & expected).sum() / expected.sum() > 0.9
    assert (found & expected).sum() / found.sum() > 0.8
    assert np.degrees(np.arccos(np.clip(windows.up_camera @ truth.up, -1, 1))) < 5


def test_windows_give_what_one_solve_gives(fitter: Fitter, seen: Seen, windows: Capture, tmp_path: Path) -> None:
    whole = run(fitter, tmp_path / "one", seen, ONE)
    apart = np.linalg.norm(whole.joints[:, BODY] - windows.joints[:, BODY], axis=-1)
    assert apart.mean() < 0.003 and apart.max() < 0.015


def test_a_run_that_was_stopped_goes_on_with_the_same_result(
    fitter: Fitter, seen: Seen, windows: Capture, tmp_path: Path
) -> None:
    parts = []
    for stop_after in (3, 6, 5):
        with pytest.raises(Stopped):
            run(fitter, tmp_path / "job", seen, SHORT, stop_after)
        parts.append({path.name[:5] for path in (tmp_path / "job").iterdir()})
    # Among the key frames, after the first windows, and after the first with contacts.
    assert "shape" not in parts[0] and "rough" in parts[1] and "final" in parts[2]
    again = run(fitter, tmp_path / "job", seen, SHORT)
    for name in ("betas", "transl", "joints", "contacts", "confidence", "expression", "joint_sigma_m"):
        np.testing.assert_array_equal(getattr(again, name), getattr(windows, name), err_msg=name)
    np.testing.assert_array_equal(again.full_pose(), windows.full_pose())


def test_the_focal_length_is_looked_for_without_all_frames_in_memory(
    fitter: Fitter, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("pantomime.core.video_person.clip_focal", lambda clip, some, *rest: asked.append(len(some)))
    settings = replace(VideoSettings(), focal_moments=9)
    with JobFolder(tmp_path) as folder:
        sightings = job(folder, seen)
        fit = PersonFit(
            fitter, sightings, sightings.people()[0], 0, SIZE, PhotoCamera(), 30.0, None, folder, "key",
            lambda fraction: None, lambda: None, None, settings,
        )  # fmt: skip
        whole = fit._seen
        with monkeypatch.context() as patch:
            patch.setattr(fit, "_seen", lambda start, end: asked.append(end - start) or whole(start, end))
            fit._focal(ClipShape(np.zeros(fitter.body.num_betas, np.float32), FOCAL_PX, "fitted", (320.0, 240.0)))
    assert asked == [25, 9] and len(seen) == FRAMES


def test_a_helper_process_changes_nothing(fitter: Fitter, seen: Seen, tmp_path: Path) -> None:
    # A slow walk at six frames a second: three windows of 24 frames.
    slow = replace(seen, time_s=seen.time_s * 5)
    warnings: list[str] = []

    def new_helper() -> Helper:
        camera = asdict(PhotoCamera(FOCAL_PX, "given"))
        helper = Helper(asdict(PipelineSettings()), warnings.append)
        helper.begin(HelpedFit(str(tmp_path / "helped"), "detection", 2, 0, SIZE, camera, 6.0, None, "key"))
        return helper

    def fit(folder: JobFolder, helper: Helper | None) -> PersonFit:
        sightings = job(folder, slow)
        return PersonFit(
            fitter, sightings, sightings.people()[0], 0, SIZE, PhotoCamera(FOCAL_PX, "given"), 6.0, None, folder,
            "key", lambda fraction: None, lambda: None, None, None, helper,
        )  # fmt: skip

    with JobFolder(tmp_path / "alone") as folder:
        alone = fit(folder, None).run()
    with JobFolder(tmp_path / "helped") as folder:
        helper = new_helper()
        helped = fit(folder, helper)
        assert len(helped.windows) == 3
        together = helped.run()
        # Whoever did it: the helper fits each key frame, and solves each window, to the same bits.
        helped.prepare("final")
        known, found = PhotoCamera(FOCAL_PX * 1.1, "fitted"), dict[int, KeyFit | None]()
        schedule = Schedule([()] * len(helped._keys), set())
        helper.fit_keys(known, schedule, found)
        while len(schedule.done) < len(helped._keys) and not warnings:
            time.sleep(0.05)
        for number, key in found.items():
            own = helped.fit_key(number, known)
            assert key is not None and own is not None and key[1:] == own[1:]
            np.testing.assert_array_equal(key.betas, own.betas)
        for name in ("rough", "final"):
            kept = [(folder.path / f"{name}-0-{number:05d}.npz") for number in range(3)]
            before = [folder.load(path.stem, "key") for path in kept]
            for path in kept:
                path.unlink()
            schedule = Schedule([window.needs for window in helped.windows], set())
            helper.solve(name, schedule)
            while len(schedule.done) < 3 and not warnings:
                time.sleep(0.05)  # nobody but the helper is to solve them
            after = [folder.load(path.stem, "key") for path in kept]
            for old, new in zip(before, after, strict=True):
                assert old is not None and new is not None
                for key, values in old.items():
                    np.testing.assert_array_equal(values, new[key], err_msg=f"{name} {key}")
        helper.close()
    assert not warnings
    np.testing.assert_array_equal(alone.full_pose(), together.full_pose())
    for name in ("betas", "transl", "joints", "contacts", "confidence", "expression", "joint_sigma_m"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name), err_msg=name)


def without(seen: Seen, rows: slice) -> Seen:
    confidence, score_ = seen.confidence.copy(), seen.score.copy()
    confidence[rows], score_[rows] = 0, 0
    return replace(seen, confidence=confidence, score=score_)


def test_a_short_gap_is_filled_from_both_sides(fitter: Fitter, truth: Walk, seen: Seen, tmp_path: Path) -> None:
    gap = slice(30, 38)
    capture = run(fitter, tmp_path / "gap", without(seen, gap), SHORT)
    assert capture.num_frames == FRAMES
    assert not capture.confidence[gap].any() and capture.confidence[:28].min() > 0.3
    off = np.linalg.norm(capture.joints[gap, 0] - truth.joints[gap, 0], axis=-1)
    around = np.linalg.norm(capture.joints[20:30, 0] - truth.joints[20:30, 0], axis=-1).mean()
    assert off.max() < around + 0.08
    # What was not seen is known less well.
    assert capture.joint_sigma_m[34, 20] > 1.5 * capture.joint_sigma_m[15, 20]


def test_motion_is_not_smeared_across_a_cut(body: BodyModel, fitter: Fitter, tmp_path: Path) -> None:
    first, second = see(body, walk(body, 20, heading_deg=90)), see(body, walk(body, 20, heading_deg=-90), seed=1)
    second = replace(second, index=second.index + 20, time_s=second.time_s + 20 / 30)
    both = Seen.join([first, second])
    alone = run(fitter, tmp_path / "a", first, SHORT)
    capture = run(fitter, tmp_path / "b", both, SHORT, cuts=(20,))
    assert capture.shots.tolist() == [0] * 20 + [1] * 20
    # Up to its last frame the shot before the cut is what it is without the one after it, but for shape and ground.
    apart = np.linalg.norm(
        (capture.joints[:20, BODY] - capture.joints[:20, :1]) - (alone.joints[:, BODY] - alone.joints[:, :1]), axis=-1
    )
    assert apart[-1].mean() < 0.05 and apart.mean() < 0.05


def test_somebody_who_is_there_for_three_frames_only(fitter: Fitter, seen: Seen, tmp_path: Path) -> None:
    capture = run(fitter, tmp_path / "three", seen.rows(slice(0, 3)), SHORT)
    assert capture.num_frames == 3 and np.isfinite(capture.joints).all()


@pytest.mark.parametrize(("frames", "rate"), [(1, 30.0), (2, 30.0), (5, 1.0), (10, 120.0)])
def test_few_frames_and_odd_rates(fitter: Fitter, seen: Seen, tmp_path: Path, frames: int, rate: float) -> None:
    some = seen.rows(slice(0, frames))
    some = replace(some, time_s=np.arange(frames) / rate)
    capture = run(fitter, tmp_path / "few", some, SHORT, rate=rate)
    assert capture.num_frames == frames and capture.mocap_frame_rate == rate and capture.confidence.min() > 0.3
    assert all(np.isfinite(getattr(capture, name)).all() for name in ("joints", "transl", "joint_sigma_m"))
    np.testing.assert_allclose(capture.frame_times_s, some.time_s, atol=1e-6)


def test_pins_hold_and_pull_their_neighbourhood(body: BodyModel, fitter: Fitter, truth: Walk, seen: Seen) -> None:
    clip = ClipFitter(fitter)
    shape = ClipShape(np.zeros(body.num_betas, np.float32), FOCAL_PX, "given", (SIZE[0] / 2, SIZE[1] / 2))
    some = seen.rows(slice(0, 24))
    start = start_window(clip.parts, some, shape, SIZE)
    free = clip.body_window(some, start, 0, shape, SIZE).state
    wrist = pose_chain(fitter.skeleton, free).joints[12, 20].numpy()
    elbow = pose_chain(fitter.skeleton, free).joints[12, 19].numpy()
    target = FOCAL_PX * elbow[:2] / elbow[2] + np.array(SIZE) / 2 + [0.0, 15.0]
    pins = [
        Pin(12, tuple(float(v) for v in wrist + [0.0, -0.12, 0.0]), joint="left_wrist"),
        Pin(12, (float(target[0]), float(target[1])), joint="right_elbow"),
    ]
    pinned = clip.body_window(some, start, 0, shape, SIZE, pins=pins).state
    moved = pose_chain(fitter.skeleton, pinned).joints.numpy() - pose_chain(fitter.skeleton, free).joints.numpy()
    assert moved[12, 20] == pytest.approx([0.0, -0.12, 0.0], abs=0.004)
    there = pose_chain(fitter.skeleton, pinned).joints[12, 19].numpy()
    assert FOCAL_PX * there[:2] / there[2] + np.array(SIZE) / 2 == pytest.approx(target, abs=0.5)
    height = -moved[:, 20, 1]
    # The frames around are drawn along, the less the farther they are.
    assert height[12] > height[10] > height[7] > -0.02 and height[11] > 0.04 and abs(height[0]) < 0.02


def test_blinks_and_fast_fingers_survive_and_a_lost_hand_relaxes(body: BodyModel, fitter: Fitter) -> None:
    truth = walk(body, 40, distance_m=3.0)
    blink = [body.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    expression = truth.state.expression.clone()
    # A blink of four frames: 0.13 s.
    expression[12:16, blink] = torch.tensor([0.6, 1.0, 1.0, 0.5], dtype=torch.float64)[:, None]
    rotmats = truth.state.rotmats.clone()
    # Fingers that close and open three times a second.
    curl = 0.6 - 0.6 * np.cos(2 * np.pi * 3 * truth.time_s)
    for joint in range(RIGHT_HAND.start, RIGHT_HAND.start + 9):
        turn = torch.zeros(40, 3, dtype=torch.float64)
        turn[:, 2] = torch.as_tensor(curl)
        rotmats[:, joint] = rotmats[:, joint] @ exp_so3(turn)
    state = replace(truth.state, rotmats=rotmats, expression=expression)
    seen = see(body, replace(truth, state=state), noise_px=0.8, slow_px=0.8, hint_m=0.01)
    # The left hand is lost half-way.
    confidence = seen.confidence.copy()
    confidence[20:, FIRST["left_hand"] : FIRST["left_hand"] + 21] = 0
    seen = replace(seen, confidence=confidence)
    shape = ClipShape(np.zeros(body.num_betas, np.float32), FOCAL_PX, "given", (SIZE[0] / 2, SIZE[1] / 2))
    clip = ClipFitter(fitter)
    start = BodyState(*(getattr(state, name).float() for name in BodyState.__dataclass_fields__))
    mean = exp_so3(torch.as_tensor(body.hands_mean).reshape(-1, 3))
    start.rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = mean
    start.expression[:] = 0
    found = clip.detail_window(seen, start, 0, shape, SIZE)
    lids = found.expression[:, blink].mean(1)
    assert lids[13:15].min() > 0.5 and lids[:10].max() < 0.25 and lids[19:].max() < 0.25
    # How far the right fingers are closed, of what they are: correlated, and not flattened.
    middle = RIGHT_HAND.start + 3
    bent = log_so3(mean[18].T @ found.rotmats[:, middle])[:, 2].numpy()
    assert np.corrcoef(bent, curl)[0, 1] > 0.9
    assert np.ptp(bent) > 0.6 * np.ptp(curl)
    # The lost hand comes to rest, smoothly.
    off = log_so3(mean[:15].transpose(-1, -2) @ found.rotmats[:, LEFT_HAND]).norm(dim=-1).amax(1)
    assert off[-5:].max() < 0.2
    speed = log_so3(found.rotmats[18:-1, LEFT_HAND].transpose(-1, -2) @ found.rotmats[19:, LEFT_HAND]).norm(dim=-1)
    assert float(speed.max()) < 0.3


# --- small parts ------------------------------------------------------------------------------------------------------


def test_ground_and_contacts_of_the_true_walk(truth: Walk) -> None:
    speed = speeds(truth.soles, truth.time_s)
    belief = np.ones_like(speed)
    ground = find_ground(truth.soles, speed, belief, np.array([0.05, -1.0, 0.0], np.float32))
    assert np.degrees(np.arccos(np.clip(ground.up @ truth.up, -1, 1))) < 3.0
    stands = find_contacts(truth.soles, speed, belief, ground, truth.time_s).astype(bool)
    expected = np.repeat(truth.solid, 2, axis=1)
    assert (stands & expected).sum() / expected.sum() > 0.95


def test_without_a_standing_foot_the_ground_is_under_the_lowest() -> None:
    soles = np.random.default_rng(0).normal(scale=0.3, size=(30, 4, 3)).astype(np.float32) + [0, 1, 5]
    ground = find_ground(soles, np.full((30, 4), 9.0), np.ones((30, 4)), np.array([0, -1, 0], np.float32))
    assert ground.points == 0 and np.isfinite(ground.height_m)


def test_trust_in_limbs_is_that_of_a_photo(seen: Seen, fitter: Fitter) -> None:
    random = np.random.default_rng(0)
    some = seen.rows(slice(0, 5))
    some = replace(some, confidence=random.random(some.confidence.shape).astype(np.float32))
    expected = [joint_trust(some.observation(row, SIZE)) for row in range(5)]
    np.testing.assert_allclose(joint_trusts(some), expected, atol=1e-5)


def test_anchors_are_apart_in_time_and_hold_both_ends() -> None:
    known = np.ones(20, bool)
    known[[0, 7, 8]] = False
    rows = anchor_rows(known, np.arange(20) / 30, 0.1)
    assert rows[0] == 1 and rows[-1] == 19 and all(known[rows])
    np.testing.assert_array_less(np.diff(rows), 6)


def test_the_weighted_median_is_robust() -> None:
    assert weighted_median([1.0, 2.0, 100.0], np.array([1.0, 1.0, 0.5])) == 2.0
    values: NDArray[np.float64] = np.array([3.0])
    assert weighted_median(values, np.ones(1)) == 3.0
