"""People as the detector saw them: their views agree with what is true of them, mirrored or not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX
from pantomime.core.priors.mocap import PoseSet
from pantomime.core.priors.regressor import NetworkSettings
from pantomime.core.priors.regressor_input import HINTS, POINTS
from pantomime.core.priors.train_regressor import TrainSettings, train
from pantomime.core.priors.view_pairs import MASK_SIDE, Pairs, PairViews, load_pairs, pairs_hash, save_pairs, views_of
from pantomime.core.priors.view_settings import ViewSettings
from pantomime.core.priors.views import ViewMaker, Views
from pantomime.core.priors.weights import read_tensors

COUNT, FAR_M, FOCAL_PX = 12, 20.0, 3000.0


@pytest.fixture(scope="module")
def pairs(body: BodyModel) -> Pairs:
    """People far away, whose points are seen where they truly are; hints are absent, masks a box around them."""
    random = torch.Generator().manual_seed(0)
    rotations = np.tile(np.eye(3, dtype=np.float32), (4, 55, 1, 1))
    names = np.array(["none"] * 4)
    maker = ViewMaker(body, PoseSet(rotations, names, names, names, names, np.arange(4)), ViewSettings(), 3)
    cut = torch.zeros(COUNT, dtype=torch.bool)
    rotmats = maker.place(maker.people(cut), cut)
    betas = torch.randn(COUNT, body.num_betas, generator=random)
    points = maker.pose(rotmats, betas, False).points.numpy() + np.array([0.4, -0.3, FAR_M], np.float32)
    pixels = (FOCAL_PX * points[..., :2] / points[..., 2:] + 256.0).astype(np.float32)
    box = np.concatenate([pixels.min(1) - 5, pixels.max(1) + 5], 1).astype(np.float32)
    return Pairs(
        pixels=pixels,
        trust=np.ones(pixels.shape[:2], np.float32),
        hints=np.zeros((COUNT, len(HINTS), 3), np.float32),
        hint_trust=np.zeros((COUNT, len(HINTS)), np.float32),
        mask=np.full((COUNT, MASK_SIDE * MASK_SIDE // 8), 255, np.uint8),
        mask_box=box,
        true_px=pixels,
        rotmats=rotmats.numpy(),
        betas=betas.numpy(),
        focal_px=np.full(COUNT, FOCAL_PX, np.float32),
        size=np.full((COUNT, 2), 512, np.int32),
    )


def off_rad(views: Views, a: str, b: str) -> torch.Tensor:
    """Angle in the picture between what the features say of a line between joints and what is true."""
    points = views.features[:, : 2 * len(POINTS)].unflatten(1, (len(POINTS), 2))
    seen = points[:, POINTS.index(b)] - points[:, POINTS.index(a)]
    true = (views.joints[:, JOINT_INDEX[b]] - views.joints[:, JOINT_INDEX[a]])[:, :2]
    clear = true.norm(dim=1) > 0.15
    cosine = torch.nn.functional.cosine_similarity(seen[clear], true[clear])
    return cosine.clamp(-1, 1).acos()


def test_views_agree_with_the_truth(body: BodyModel, pairs: Pairs) -> None:
    whole = PairViews(body, pairs, 3, 0)
    drawn = whole.batch(200, torch.Generator().manual_seed(1))
    for views in (whole.views.part(torch.arange(COUNT)), drawn):
        for a, b in (("left_hip", "left_ankle"), ("right_shoulder", "right_wrist"), ("left_shoulder", "left_wrist")):
            told = views.part((views.features[:, 2 * len(POINTS) + POINTS.index(b)] > 0).nonzero()[:, 0])
            assert float(off_rad(told, a, b).median()) < math.radians(6)
        knee = views.directions[:, 6:8]  # of both thighs
        bone = views.joints[:, [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]]
        bone = bone - views.joints[:, [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]]
        assert float((torch.nn.functional.normalize(bone, dim=-1) - knee).abs().max()) < 0.05
    assert len(whole.views.features) == 3 * COUNT


def test_the_first_view_of_a_pair_is_the_pair_and_seeds_fix_the_others(body: BodyModel, pairs: Pairs) -> None:
    first, again = views_of(body, pairs, 2, 0), views_of(body, pairs, 2, 0)
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.features[:COUNT], views_of(body, pairs, 1, 7).features)
    assert not torch.equal(first.features[:COUNT], first.features[COUNT:])
    trust = first.features[:COUNT, 2 * len(POINTS) : 3 * len(POINTS)]
    assert bool((trust == 1).all())


def test_pairs_are_kept_in_files(tmp_path: Path, pairs: Pairs) -> None:
    rows = [{name: value[i] for name, value in vars(pairs).items()} for i in range(COUNT)]
    save_pairs(tmp_path / "a.npz", rows[:7])
    save_pairs(tmp_path / "b.npz", rows[7:])
    found = load_pairs([tmp_path / "a.npz", tmp_path / "b.npz"])
    assert all(np.array_equal(value, getattr(found, name)) for name, value in vars(pairs).items())
    assert len(found.training()) + len(found.validation()) == COUNT
    assert pairs_hash([tmp_path / "a.npz"]) != pairs_hash([tmp_path / "b.npz"])


def test_training_with_pairs_is_the_same_twice_and_tells_which(body: BodyModel, pairs: Pairs, tmp_path: Path) -> None:
    rows = [{name: value[i] for name, value in vars(pairs).items()} for i in range(COUNT)]
    file = tmp_path / "pairs.npz"
    save_pairs(file, rows)
    settings = TrainSettings(steps=2, batch=16, pairs_copies=2, network=NetworkSettings(width=16, blocks=1))
    eye = np.tile(np.eye(3, dtype=np.float32), (4, 55, 1, 1))
    names = np.array(["none"] * 4)
    split = np.array(["train", "train", "validation", "validation"])
    poses = PoseSet(eye, names, names, split, names, np.arange(4))
    for output in ("a", "b"):
        train(body, poses, settings, tmp_path / output, report=lambda text: None, pairs=[file])
    first, second = (read_tensors(tmp_path / name)[0] for name in ("a", "b"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    with safe_open(str(tmp_path / "a"), framework="pt") as weights:
        metadata = weights.metadata()
    assert metadata["pairs_sha256"] == pairs_hash([file]) and metadata["pairs"] == "11"
    assert json.loads(metadata["validation_as_detected"])["pa_mpjpe_mm"] > 0
