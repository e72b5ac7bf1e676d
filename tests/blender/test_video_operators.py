"""Video to animation: the operator with a real worker, what it refuses, what is left after a cancel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.messages import FitVideo

bpy = pytest.importorskip("bpy")
cv2 = pytest.importorskip("cv2")

pytestmark = [pytest.mark.usefixtures("empty_file", "extension", "detector_models"), pytest.mark.models]
FRAMES = 14


@pytest.fixture(scope="module")
def clip(portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person who slides to the right: 14 frames at 10 a second."""
    picture = cv2.imread(str(portrait))
    path = tmp_path_factory.mktemp("clip") / "astronaut.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (512, 512))
    for k in range(FRAMES):
        writer.write(cv2.warpAffine(picture, np.float32([[1, 0, 3 * k - 20], [0, 1, 0]]), (512, 512)))
    writer.release()
    return path


@pytest.fixture(autouse=True)
def quiet_session() -> Iterator[None]:
    from pantomime.operators.session import SESSION

    yield
    SESSION.cancel_all()
    SESSION.wait()


def test_a_clip_becomes_an_animated_avatar(clip: Path) -> None:
    scene = bpy.context.scene
    before = (scene.render.fps, scene.frame_end, scene.frame_current)
    assert bpy.ops.pantomime.video_to_animation("EXEC_DEFAULT", filepath=str(clip)) == {"FINISHED"}
    assert (scene.render.fps, scene.frame_end, scene.frame_current) == before
    rigs = [obj for obj in bpy.data.objects if obj.type == "ARMATURE"]
    assert [rig.name for rig in rigs] == ["astronaut"]
    start, end = rigs[0].animation_data.action.frame_range
    assert (start, end) == (1.0, np.floor(1.0 + (FRAMES - 1) / 10 * 24))
    background = scene.camera.data.background_images[0]
    assert background.image.source == "MOVIE"
    assert not [item for item in (*bpy.data.objects, *bpy.data.collections) if "preview" in item.name]
    # Previews leave no action behind: bones, face, and the clip's offset.
    assert len([action for action in bpy.data.actions if action.users]) == len(bpy.data.actions) <= 3


def test_a_movie_clip_of_the_scene_and_its_rate(clip: Path) -> None:
    scene = bpy.context.scene
    values = scene.pantomime_video
    values.movie_clip = bpy.data.movieclips.load(str(clip))
    values.set_rate, values.use_range, values.start, values.end = True, True, 3, 8
    assert bpy.ops.pantomime.video_to_animation("EXEC_DEFAULT", use_movie_clip=True) == {"FINISHED"}
    assert scene.render.fps / scene.render.fps_base == pytest.approx(10.0)
    rig = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE")
    assert rig.animation_data.action.frame_range[1] - rig.animation_data.action.frame_range[0] == 5.0


def test_what_is_no_video_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mp4", tmp_path / "text.mp4"):
        if path.stem == "text":
            path.write_text("no video")
        with pytest.raises(RuntimeError) as error:
            bpy.ops.pantomime.video_to_animation("EXEC_DEFAULT", filepath=str(path))
        assert "Traceback" not in str(error.value) and str(path.name) in str(error.value)
    assert not bpy.data.objects


def test_an_empty_range_is_refused(clip: Path) -> None:
    values = bpy.context.scene.pantomime_video
    values.use_range, values.start, values.end = True, 9, 3
    with pytest.raises(RuntimeError, match="range of frames is empty"):
        bpy.ops.pantomime.video_to_animation("EXEC_DEFAULT", filepath=str(clip))


def test_a_cancelled_clip_goes_on_where_it_was(clip: Path) -> None:
    from pantomime.operators.session import SESSION
    from pantomime.operators.settings import solver_settings
    from pantomime.operators.video import VideoRequest, output_of, video_job

    request = VideoRequest(str(clip), 0, None, 1, False, 1, None, None, "neutral")
    job = video_job(request, bpy.context.scene, solver_settings(bpy.context))
    assert isinstance(job.request, FitVideo) and job.request.out == output_of(str(clip))
    SESSION.submit(job)
    while SESSION.poll() and SESSION.status.fraction < 0.3:
        pass
    SESSION.cancel_all()
    SESSION.wait()
    assert SESSION.status.done == "Cancelled"
    assert [notice.text for notice in SESSION.notices if "same clip again" in notice.text]
    assert not bpy.data.objects
    # The same clip, named again, is solved to its end in the same place.
    SESSION.submit(video_job(request, bpy.context.scene, solver_settings(bpy.context)))
    SESSION.wait()
    assert not SESSION.status.error
    assert Path(output_of(str(clip))).is_file()
    assert [obj.name for obj in bpy.data.objects if obj.type == "ARMATURE"] == ["astronaut"]
