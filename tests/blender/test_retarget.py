"""An avatar's motion on other rigs: limbs point where the avatar's do, whatever names, rest, rolls and scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from pantomime.core.capture import Capture
from pantomime.scene import motion, rigs
from pantomime.scene.armature import bone_frames, edit_bones
from pantomime.scene.avatar import Avatar, build_avatar
from pantomime.scene.retarget import RetargetError, detected, retarget, retarget_steps

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("empty_file")

Make = Callable[..., Capture]
SEGMENTS = [
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "middle1"), ("hip", "knee"), ("knee", "ankle"),
        ("index1", "index2"), ("index2", "index3"), ("thumb1", "thumb2"), ("pinky2", "pinky3"),
    )
]  # fmt: skip


def directions(obj: object, bones: dict[str, str]) -> NDArray[np.float64]:
    """Where limbs point in the world; rows of SEGMENTS."""
    bpy.context.view_layer.update()
    posed = obj.evaluated_get(bpy.context.view_layer.depsgraph)
    heads = {joint: np.array(posed.matrix_world @ posed.pose.bones[bone].head) for joint, bone in bones.items()}
    between = np.array([heads[b] - heads[a] for a, b in SEGMENTS if a in heads and b in heads])
    return between / np.linalg.norm(between, axis=1, keepdims=True)


def hips(obj: object, bones: dict[str, str]) -> NDArray[np.float64]:
    heads = [obj.matrix_world @ obj.pose.bones[bones[joint]].head for joint in ("left_hip", "right_hip")]
    return np.mean([np.array(head) for head in heads], axis=0)


def furthest_degrees(avatar: Avatar, target: object, bones: dict[str, str]) -> float:
    own = {joint: joint for joint in bones}
    cosine = (directions(avatar.armature, own) * directions(target, bones)).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).max())


# What keeps its own rest, and turns away from it as the avatar's does.
KEEP_REST = (
    "pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar", "left_ankle", "right_ankle",
    "left_foot", "right_foot",
)  # fmt: skip


def furthest_turned_degrees(avatar: Avatar, target: object, bones: dict[str, str]) -> float:
    """Between how trunk, head and feet of both are turned away from their rests."""
    bpy.context.view_layer.update()
    graph = bpy.context.view_layer.depsgraph

    def turn(obj: object, bone: str) -> NDArray[np.float64]:
        posed = obj.evaluated_get(graph).pose.bones[bone].matrix.to_3x3().normalized()
        rest = obj.data.bones[bone].matrix_local.to_3x3()
        return np.array(obj.matrix_world.to_3x3().normalized() @ posed @ rest.inverted())

    found = []
    for joint in KEEP_REST:
        if joint in bones:
            between = turn(avatar.armature, joint).T @ turn(target, bones[joint])
            found.append(np.degrees(np.arccos(np.clip((np.trace(between) - 1.0) / 2.0, -1.0, 1.0))))
    assert len(found) >= 10
    return float(max(found))


def make_rig(
    avatar: Avatar,
    names: dict[str, str],
    seed: int = 0,
    drop_degrees: float = 0.0,
    moved: dict[str, tuple[float, float, float]] | None = None,
) -> object:
    """An armature of the avatar's proportions with other names: arms dropped to an A-pose, rolls at random, some joints
    moved by so many metres."""
    heads, _ = bone_frames(avatar.armature)
    heads = heads.copy()
    for joint, offset in (moved or {}).items():
        heads[JOINT_INDEX[joint]] += offset
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn = np.array(Matrix.Rotation(np.radians(drop_degrees) * sign, 3, "Y"))
        pivot = heads[JOINT_INDEX[f"{side}_shoulder"]].copy()
        for joint, name in enumerate(JOINT_NAMES):
            if name.startswith(side) and any(
                w in name for w in ("elbow", "wrist", "index", "middle", "ring", "pinky", "thumb")
            ):
                heads[joint] = pivot + turn @ (heads[joint] - pivot)
    data = bpy.data.armatures.new("Target")
    obj = bpy.data.objects.new("Target", data)
    bpy.context.scene.collection.objects.link(obj)
    rng = np.random.default_rng(seed)
    with edit_bones(data) as bones:
        made = {}
        for joint, name in enumerate(JOINT_NAMES):
            if name not in names:
                continue
            bone = bones.new(names[name])
            children = [k for k, parent in enumerate(PARENTS) if parent == joint and JOINT_NAMES[k] in names]
            bone.head = Vector(heads[joint])
            along = heads[children[0]] - heads[joint] if children else np.array([0.0, -0.03, 0.01])
            bone.tail = Vector(heads[joint] + along)
            bone.roll = rng.uniform(-3.0, 3.0)
            parent = PARENTS[joint]
            while parent >= 0 and JOINT_NAMES[parent] not in names:
                parent = PARENTS[parent]
            if parent >= 0:
                bone.parent = made[JOINT_NAMES[parent]]
            made[name] = bone
    bpy.context.view_layer.update()
    return obj


@pytest.mark.parametrize("rig", rigs.RIGS, ids=lambda rig: rig.name)
def test_limbs_point_where_the_avatars_do(free_body: BodyModel, random_capture: Make, rig: rigs.Rig) -> None:
    avatar = build_avatar(random_capture(free_body, 8), free_body)
    target = make_rig(avatar, dict(rig.bones), 1, drop_degrees=45.0)
    found = detected(target)
    assert found is not None and found.rig.name == rig.name
    assert found.bones == dict(rig.bones)
    done = retarget(avatar.armature, target, found.bones)
    assert done.mapped == len(rig.bones)
    assert furthest_degrees(avatar, target, found.bones) < 1.0


def test_back_head_and_soles_turn_as_the_avatars_do_where_other_rigs_have_their_joints_elsewhere(
    free_body: BodyModel, random_capture: Make
) -> None:
    avatar = build_avatar(random_capture(free_body, 12), free_body)
    moved = {
        "pelvis": (0.0, 0.05, -0.08), "spine1": (0.0, 0.05, -0.04), "spine3": (0.0, -0.03, -0.07),
        "neck": (0.0, 0.02, -0.02), "left_collar": (-0.05, 0.04, 0.03), "right_collar": (0.05, 0.04, 0.03),
        "left_foot": (0.0, 0.0, -0.03), "right_foot": (0.0, 0.0, 0.02),
    }  # fmt: skip
    target = make_rig(avatar, dict(rigs.MIXAMO.bones), 3, 45.0, moved)
    retarget(avatar.armature, target, dict(rigs.MIXAMO.bones))
    assert furthest_degrees(avatar, target, dict(rigs.MIXAMO.bones)) < 1.0
    assert furthest_turned_degrees(avatar, target, dict(rigs.MIXAMO.bones)) < 0.3


def test_a_rig_in_centimetres_that_faces_another_way_follows_and_its_travel_is_scaled(
    free_body: BodyModel, random_capture: Make
) -> None:
    capture = random_capture(free_body, 9, frames=3, frame_times_s=np.arange(3, dtype=np.float32) / 24.0)
    avatar = build_avatar(capture, free_body)
    names = {joint: f"mixamorig:{bone}" for joint, bone in rigs.MIXAMO.bones.items()}
    target = make_rig(avatar, names, 2, drop_degrees=30.0)
    target.data.transform(Matrix.Scale(100.0, 4) @ Matrix.Rotation(np.pi / 2, 4, "X"))
    target.matrix_world = Matrix.Translation((2.0, 1.0, 0.0)) @ Matrix.Rotation(1.0, 4, "Z") @ Matrix.Scale(0.005, 4)
    target.pose.bones["mixamorig:LeftArm"].rotation_mode = "XYZ"
    bpy.context.view_layer.update()
    found = detected(target)
    assert found is not None and found.rig is rigs.MIXAMO
    done = retarget(avatar.armature, target, found.bones)
    assert done.frames == 3
    assert done.scale == pytest.approx(0.5, abs=0.01)
    places = []
    for frame in range(1, 4):
        bpy.context.scene.frame_set(frame)
        assert furthest_degrees(avatar, target, found.bones) < 1.0
        own = {joint: joint for joint in found.bones}
        places.append([hips(avatar.armature, own), hips(target, found.bones)])
    ours, theirs = (np.array([p[k] for p in places]) for k in (0, 1))
    assert theirs - theirs[0] == pytest.approx(done.scale * (ours - ours[0]), abs=2e-3)


def pose_of(rig: bpy.types.Object) -> np.ndarray:
    """Channels (bones, 4, 4)."""
    return np.array([bone.matrix_basis for bone in rig.pose.bones])


def test_a_real_rigify_rig_follows_by_its_controls(
    free_body: BodyModel, random_capture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bpy.ops.preferences.addon_enable(module="rigify")
    avatar = build_avatar(random_capture(free_body, 10, 0.7), free_body)
    try:
        bpy.ops.object.armature_human_metarig_add()
        meta = bpy.context.object
        found = detected(meta)
        assert found is not None and found.rig is rigs.RIGIFY
        retarget(avatar.armature, meta, found.bones)
        assert furthest_degrees(avatar, meta, found.bones) < 1.0
        # From feet to head it leans a little at rest.
        assert furthest_turned_degrees(avatar, meta, found.bones) < 4.0
        meta.animation_data_clear()
        for bone in meta.pose.bones:
            bone.matrix_basis.identity()
        bpy.ops.pose.rigify_generate()
        generated = next(o for o in bpy.data.objects if o.type == "ARMATURE" and o not in (meta, avatar.armature))
        found = detected(generated)
        assert found is not None and found.rig is rigs.RIGIFY_CONTROLS
        updates = [0]

        def counted(alone: motion.Alone) -> Any:
            updates[-1] += 1
            return bones(alone)

        bones = motion.Alone.bones
        monkeypatch.setattr(motion.Alone, "bones", counted)
        monkeypatch.setattr(motion, "STEP_S", 0.0)
        before = pose_of(generated)
        for _ in retarget_steps(avatar.armature, generated, found.bones, bpy.context.scene, found.rig.switches):
            # Blender's evaluation of such a rig is what takes long: one in a step. In between it is as it was.
            if updates[-1]:
                np.testing.assert_array_equal(pose_of(generated), before)
                updates.append(0)
        assert len(updates) > 3 and max(updates) == 1
        # Not the controls: what deforms a character.
        deforming = {joint: f"DEF-{bone.replace('_fk', '')}" for joint, bone in found.bones.items()}
        deforming = {joint: bone for joint, bone in deforming.items() if bone in generated.data.bones}
        assert len(deforming) > 40
        assert furthest_degrees(avatar, generated, deforming) < 1.0
    finally:
        bpy.ops.preferences.addon_disable(module="rigify")


def test_what_cannot_be_mapped_is_said(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 11), free_body)
    target = make_rig(avatar, {"pelvis": "Bone", "spine1": "Bone.001"})
    assert detected(target) is None
    with pytest.raises(RetargetError, match="mapping"):
        retarget(avatar.armature, target, {"pelvis": "Bone"})
    with pytest.raises(RetargetError, match="no other armature"):
        retarget(avatar.armature, avatar.armature, {})
    with pytest.raises(RetargetError, match="not an avatar"):
        retarget(target, avatar.armature, {})
