"""Somebody in the free body before a camera, and the label of a picture of this person: to try the bench on."""

from __future__ import annotations

import numpy as np
import torch

from pantomime.core.body.bench_labels import PersonLabel
from pantomime.core.body.bench_things import Things, hidden_share, point_visibility
from pantomime.core.body.bench_views import View
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, JOINT_NAMES, NUM_JOINTS
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture
from pantomime.core.rotation import exp_so3

SIZE, FOCAL = (320, 400), 480.0


def bent_pose() -> np.ndarray:
    """(55, 3) axis-angle, camera axes: arms down, knees and an arm bent."""
    vectors = np.zeros((NUM_JOINTS, 3))
    vectors[0] = [np.pi, 0, 0]
    for name, value in {
        "left_shoulder": (0, 0, -1.1),
        "right_shoulder": (0, 0.3, 1.0),
        "right_elbow": (0, 1.2, 0),
        "left_hip": (-0.5, 0, 0.1),
        "left_knee": (0.7, 0, 0),
    }.items():
        vectors[JOINT_INDEX[name]] = value
    return vectors


def capture_of(body: BodyModel, vectors: np.ndarray, betas: np.ndarray, place: tuple[float, float, float]) -> Capture:
    """Of somebody whose pelvis is at `place` (metres), with `vectors` (55, 3) axis-angle, camera axes."""
    posing = Body(body)
    rotmats = exp_so3(torch.as_tensor(vectors, dtype=torch.float32))
    transl = torch.tensor(place) - posing.rest_joints(torch.as_tensor(betas, dtype=torch.float32))[0]
    joints = posing.joints(torch.as_tensor(betas, dtype=torch.float32), None, rotmats, transl)
    rows = vectors.astype(np.float32).reshape(1, -1)
    return Capture(
        betas=betas.astype(np.float32),
        expression=np.zeros((1, body.num_expressions), np.float32),
        global_orient=rows[:, :3],
        body_pose=rows[:, 3:66],
        jaw_pose=rows[:, 66:69],
        leye_pose=rows[:, 69:72],
        reye_pose=rows[:, 72:75],
        left_hand_pose=rows[:, 75:120],
        right_hand_pose=rows[:, 120:],
        transl=transl.numpy()[None],
        joints=joints.numpy()[None],
        joint_names=JOINT_NAMES,
        focal_px=FOCAL,
        principal_px=np.array(SIZE, np.float32) / 2,
        image_size=SIZE,
    )


def label_of(body: BodyModel, capture: Capture, things: Things | None = None, index: int = 0) -> PersonLabel:
    """As if the capture were the truth, with things (camera axes) before or about the person."""
    things = things or Things.none()
    posing = Body(body)
    betas = torch.as_tensor(capture.betas)
    rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
    transl = torch.as_tensor(capture.transl[0])
    vertices = posing.vertices(betas, None, rotmats, transl)
    world, joints = posing.chain(posing.rest_joints(betas), rotmats, transl)
    pixels = FOCAL * joints[:, :2] / joints[:, 2:] + torch.tensor(SIZE) / 2
    view = View(np.eye(3), np.zeros(3), FOCAL, SIZE)
    flat = joints.numpy().astype(np.float64)
    visibility = point_visibility(
        flat,
        np.full(NUM_JOINTS, 0.06),
        vertices.numpy().astype(np.float64),
        body.faces,
        things.vertices,
        things.triangles,
        FOCAL,
        SIZE,
    )
    return PersonLabel(
        seed=5,
        index=index,
        pose_index=0,
        mirrored=False,
        action="stand",
        framing="full",
        image_size=SIZE,
        focal_px=FOCAL,
        principal_px=np.array(SIZE, np.float32) / 2,
        T_camera_world=np.eye(4, dtype=np.float32),
        vertices=vertices.numpy(),
        joints=joints.numpy(),
        joints_px=pixels.numpy(),
        joint_visibility=visibility,
        rotations=rotmats.numpy(),
        joint_rotations=world.numpy(),
        t_vertices=posing.vertices(betas).numpy(),
        t_joints=posing.rest_joints(betas).numpy(),
        expression=np.zeros(body.num_expressions, np.float32),
        phenotype=np.zeros(3, np.float32),
        object_vertices=things.vertices.astype(np.float32),
        object_quads=things.quads,
        object_ids=things.ids,
        hidden_share=hidden_share(vertices.numpy(), things, view, body.faces),
    )


def somebody(body: BodyModel) -> tuple[Capture, PersonLabel]:
    """In the bent pose, of a shape that is not the mean one."""
    betas = np.zeros(body.num_betas)
    betas[:3] = [0.8, -0.6, 0.4]
    capture = capture_of(body, bent_pose(), betas, (0.05, 0.0, 2.4))
    return capture, label_of(body, capture)
