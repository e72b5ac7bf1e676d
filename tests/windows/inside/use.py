"""Sliders, photo texture, export, retarget."""

from __future__ import annotations

import time

import bpy
from meter import METER
from window import (
    OUT,
    TASK,
    Steps,
    activate,
    check,
    front,
    here,
    idle,
    look_through,
    move,
    part,
    region,
    rigs,
    say,
    session,
    shot,
    view,
    wheel,
)

# Format, suffix, least size in bytes.
FORMATS = (("GLTF", "glb", 500_000), ("FBX", "fbx", 500_000), ("USD", "usdc", 500_000), ("BVH", "bvh", 10_000))
REDRAWS = 100


def sliders() -> Steps:
    """Shape, pose and face of the avatar; the whole sidebar."""
    activate(rigs()[0])
    with here():
        values = rigs()[0].pantomime_avatar
        tall = values.height
        values.height = tall + 10.0
        off = abs(values.height - tall - 10.0)
        check("height follows its slider", off < 0.5, f"{tall:.1f} to {values.height:.1f} cm")
        values.weight += 15.0
        off = abs(values.height - tall - 10.0)
        check("height stays when weight changes", off < 0.5, f"{values.height:.1f} cm")
        bpy.ops.pantomime.set_expression("EXEC_DEFAULT", True, kind="SMILE")
    yield wheel(6)
    yield from shot("20-sidebar")
    for page in "abcd" if TASK["open_panels"] else "a":
        yield wheel(12)
        yield from shot(f"20-sidebar-{page}")
    yield from redraws()
    yield wheel(60)
    yield from shot("20-sidebar-end")
    yield wheel(-90)
    yield move([300, 600])  # away from what would show its tooltip
    with here():
        values = rigs()[0].pantomime_avatar
        bpy.ops.pantomime.reset_shape("EXEC_DEFAULT", True, to="CAPTURED")
        check("the shape comes back", abs(values.height - tall) < 0.1, f"{values.height:.1f} cm")
        bpy.ops.pantomime.set_expression("EXEC_DEFAULT", True, kind="CAPTURED")
        bpy.ops.pantomime.set_pose("EXEC_DEFAULT", True, kind="A")
    front()
    yield 1.0
    yield from shot("21-a-pose")
    with here():
        bpy.ops.pantomime.set_pose("EXEC_DEFAULT", True, kind="CAPTURED")
    yield 0.2


def redraws() -> Steps:
    """What the panels cost whenever the sidebar is drawn: with all that Blender asks them, also which are shown."""
    before = dict(METER.spent)
    for _ in range(REDRAWS):
        region("UI").tag_redraw()
        yield 0.01
    spent = {
        name: (count - before.get(name, (0, 0.0))[0], seconds - before.get(name, (0, 0.0))[1])
        for name, (count, seconds) in METER.spent.items()
        if "_PT_" in name
    }
    times = spent["PANTOMIME_PT_capture.draw"][0]
    check("the sidebar was drawn", times > REDRAWS / 2, times)
    each = sorted(((seconds / times, name) for name, (_, seconds) in spent.items()), reverse=True)
    say(
        "time",
        f"drawing the sidebar: the panels compute {1000 * sum(cost for cost, _ in each):.2f} ms a time, {times} times",
    )
    say("parts", ", ".join(f"{name} {1000 * cost:.2f} ms" for cost, name in each[:5]))


def texture() -> Steps:
    """The photo on the skin."""
    look_through(rigs()[0])
    began = time.perf_counter()
    with here():
        bpy.ops.pantomime.photo_texture("EXEC_DEFAULT", True)
    yield idle
    say("time", f"photo texture {time.perf_counter() - began:.1f} s")
    skin = next(child for child in rigs()[0].children if child.type == "MESH")
    check("the skin has the photo", "photo_texture" in skin, session().status.error or session().status.done)
    shading = view().spaces.active.shading
    shading.color_type = "TEXTURE"
    yield from shot("22-texture-camera")
    front()
    yield 1.0
    yield from shot("23-texture-front")
    shading.color_type = "MATERIAL"
    with here():
        bpy.ops.ed.undo()
    yield 0.5
    check("one undo takes the photo off", not any("photo_texture" in child for child in rigs()[0].children))


def export() -> Steps:
    activate(rigs()[0])
    aside = part("operators.session").ASIDE
    # Before: what it takes to draw the sidebar while it moves would be taken for the export's.
    yield wheel(60)
    for format_, suffix, least in FORMATS:
        path = OUT / f"avatar.{suffix}"
        began = time.perf_counter()
        with here():
            try:
                bpy.ops.pantomime.export("EXEC_DEFAULT", filepath=str(path), format=format_, by_hand=True)
            except RuntimeError as error:
                known = format_ == "USD" and not bpy.app.build_options.usd
                say("skipped" if known else "WRONG", f"{format_}: {error}")
                if known:
                    continue
        if format_ == "GLTF":
            yield from shot("25-exporting")
        yield lambda: not aside.busy
        size = path.stat().st_size if path.exists() else 0
        said = f"{size / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s {aside.status.error}"
        check(f"{format_} is written", size > least, said)
        for block in METER.since(began)[:2]:
            say("block", block.words())
    path = OUT / "cancelled.fbx"
    with here():
        bpy.ops.pantomime.export("EXEC_DEFAULT", filepath=str(path), format="FBX", by_hand=True)
        yield 1.0
        bpy.ops.pantomime.cancel_aside()
    left = [item.name for item in OUT.iterdir() if item.name.startswith(".pantomime")]
    check("a cancelled export leaves nothing", not aside.busy and not path.exists() and not left, left)
    yield from shot("26-exported")
    yield wheel(-90)
    for suffix, read in (("glb", bpy.ops.import_scene.gltf), ("fbx", bpy.ops.import_scene.fbx)):
        before, pictures = set(bpy.data.objects), set(bpy.data.images)
        with here():
            read(filepath=str(OUT / f"avatar.{suffix}"))
            new = set(bpy.data.objects) - before
            bones = next((len(o.data.bones) for o in new if o.type == "ARMATURE"), 0)
            keys = max(
                (len(o.data.shape_keys.key_blocks) for o in new if o.type == "MESH" and o.data.shape_keys), default=0
            )
            check(
                f"the {suffix} file comes back with bones and expressions",
                bones >= 55 and keys > 52,
                f"{bones}, {keys}",
            )
            for obj in new:
                bpy.data.objects.remove(obj)
            bpy.data.batch_remove(set(bpy.data.images) - pictures)
            left = bpy.data.collections.get("glTF_not_exported")
            if left is not None:
                bpy.data.collections.remove(left)
        yield 0.2


def retarget() -> Steps:
    """The avatar's pose on Rigify's human."""
    import addon_utils

    if addon_utils.enable("rigify", default_set=True) is None:
        say("skipped", "this Blender has no Rigify")
        return
    with here():
        bpy.ops.object.armature_human_metarig_add()
    target = bpy.context.view_layer.objects.active
    target.location.x -= 1.2
    activate(rigs()[0])
    settings = bpy.context.scene.pantomime_retarget
    settings.target = target
    with here():
        bpy.ops.ed.undo_push(message="Add a target")
    yield 0.5
    mapped = sum(bool(row.bone) for row in settings.rows)
    check("Rigify's bones are found", mapped >= 50, f"{settings.rig}, {mapped}")
    began = time.perf_counter()
    with here():
        bpy.ops.pantomime.retarget("INVOKE_DEFAULT", True)
    aside = part("operators.session").ASIDE
    yield lambda: not aside.busy
    say("time", f"retarget: {time.perf_counter() - began:.2f} s")
    for block in METER.since(began)[:2]:
        say("block", block.words())
    check("it has an action", target.animation_data is not None and target.animation_data.action is not None)
    view().spaces.active.region_3d.view_perspective = "PERSP"
    with here():
        target.select_set(True)
    front()
    yield 1.0
    yield wheel(60)
    yield from shot("24-retarget")
    yield wheel(-90)
    with here():
        bpy.ops.ed.undo()
    yield 0.5
    target = next(o for o in bpy.data.objects if o.type == "ARMATURE" and "pantomime" not in o)
    check("one undo takes it back", target.animation_data is None or target.animation_data.action is None)
    bpy.data.objects.remove(target)
    yield 0.2
