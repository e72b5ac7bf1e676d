"""Every text of the interface has its translation, in every language that is there."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest

import pantomime
from pantomime import operators, panels
from pantomime.core.body.load import load_body
from pantomime.core.media.files import MediaError, too_large
from pantomime.core.media.photo import read_photo
from pantomime.core.media.video import Clip
from pantomime.operators import certainty, face, notify
from pantomime.panels import avatar, translations, use
from pantomime.scene import handles

pytestmark = pytest.mark.usefixtures("extension")
LANGUAGES = sorted(translations.LOCALES)

ROOT = Path(pantomime.__file__).parent
# Calls whose argument of this name or place is shown.
KEYWORDS = {"text", "heading", "title", "name", "description"}
PLACES = {
    "paragraph": 2,
    "_refuse": 1,
    "poll_message_set": 0,
    "pgettext_iface": 0,
    "translate": 0,
    "Line": 0,
    "Notice": 1,
    "say": 1,
}
# Functions that return a text to be shown.
SPEAKING = ("why_not", "refusal", "_counted", "state", "waits_for")


def registered() -> Iterator[tuple[str, str]]:
    """Texts of the classes and their properties: (where, text)."""
    for module in (operators, panels):
        for cls in module.CLASSES:
            yield f"{cls.__name__}.bl_label", getattr(cls, "bl_label", "")
            rna = cls.bl_rna
            if issubclass(cls, bpy.types.Operator):
                rna = getattr(bpy.ops.pantomime, cls.bl_idname.partition(".")[2]).get_rna_type()
                yield f"{cls.__name__} tooltip", rna.description
            for prop in rna.properties:
                if prop.identifier not in _annotations(cls) or prop.is_hidden:
                    continue
                where = f"{cls.__name__}.{prop.identifier}"
                yield where, prop.name
                yield where, prop.description
                if prop.type == "ENUM":
                    for item in prop.enum_items:
                        yield where, item.name
                        yield where, item.description


def _annotations(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in inspect.get_annotations(base)}


def written() -> Iterator[tuple[str, str]]:
    """Literal texts that the interface's code shows: (where, text)."""
    for folder in ("operators", "panels"):
        for path in sorted((ROOT / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                for text in _shown(node):
                    yield f"{folder}/{path.name}:{node.lineno}", text  # type: ignore[attr-defined]


def _shown(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        translated = not any(
            keyword.arg == "translate" and isinstance(keyword.value, ast.Constant) and not keyword.value.value
            for keyword in node.keywords
        )
        for keyword in node.keywords:
            if keyword.arg == "text" and translated:
                yield from _constants(keyword.value)
        place = PLACES.get(name)
        if place is not None and len(node.args) > place:
            yield from _constants(node.args[place])
    elif isinstance(node, ast.FunctionDef) and node.name.startswith(SPEAKING):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Return) and inner.value is not None:
                yield from _constants(inner.value)


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _constants(value)


def tables() -> Iterator[tuple[str, str]]:
    """Texts that stand in tables."""
    for title, _ in face.EXPRESSIONS.values():
        yield "face.EXPRESSIONS", title
    for title, _ in face.FACE_GROUPS:
        yield "face.FACE_GROUPS", title
    for name, _ in certainty.LIMBS:
        yield "certainty.LIMBS", name
    for text in use.HANDLE_NAMES.values():
        yield "use.HANDLE_NAMES", text
    for _, text in avatar.MEASURES:
        yield "avatar.MEASURES", text


def points() -> Iterator[tuple[str, str]]:
    """Names of the points in the viewport."""
    cache = handles.PointCache(load_body())
    for name in (*handles.BODY_SETS, *handles.HAND_SETS, *handles.FACE_SETS):
        for index in cache.chosen(name)[0].tolist():
            yield f"points of {name}", handles.point_title(cache.body, (name, index))


def stages() -> Iterator[tuple[str, str]]:
    """What the solver says while it works."""
    for path in sorted((ROOT / "core").rglob("*.py")):
        for found in re.finditer(r'\bstage\(\s*"[^"]+",\s*"([^"]+)"', path.read_text("utf-8")):
            yield f"core/{path.name}", found.group(1)


def speaks(text: str) -> bool:
    """Whether there is something to translate: words, not units or names of formats."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) > 0


def all_texts() -> dict[str, str]:
    """Each text and where it is."""
    keys = [("shape key", face.readable(name)) for name in load_body().expression_names]
    found = (
        *registered(),
        *written(),
        *tables(),
        *points(),
        *stages(),
        *keys,
    )
    return {text: where for where, text in found if speaks(text)}


# Modules whose errors and warnings people meet in the interface: relative to the root.
SPOKEN = (
    "operators/*.py", "panels/handles.py", "scene/assets.py", "scene/avatar.py", "scene/controls.py",
    "scene/current.py", "scene/export.py", "scene/handles.py", "scene/retarget.py", "scene/shaping.py",
    "scene/texture.py",
)  # fmt: skip
SPEAKS = ("report", "failed", "say", "translated", "JobError", "AvatarError", "ExportError", "RetargetError", "append")


def sentences() -> Iterator[tuple[str, str]]:
    """What operators report: (where, text), with `{}` for what is filled in."""
    for pattern in SPOKEN:
        for path in sorted(ROOT.glob(pattern)):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
                for argument in getattr(node, "args", ()) if isinstance(node, ast.Call) and name in SPEAKS else ():
                    text = _template(argument)
                    # Words with a capital and an end; lists and names of things are no sentences.
                    if " " in text.strip() and (name != "append" or text.endswith(".")):
                        yield f"{path.name}:{node.lineno}", text  # type: ignore[attr-defined]


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_report_of_an_operator_lacks_its_translation(language: str) -> None:
    found = {text: where for where, text in sentences()}
    assert len(found) > 40 and "There is no photo {}. Choose a picture file." in found
    missing = {text: where for text, where in found.items() if text not in translations.texts(language)}
    assert not missing, f"add these to panels/data/{language}.json: {missing}"


@pytest.fixture
def in_german(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reports are German, whatever languages this Blender has."""
    german = translations.texts("de")
    with monkeypatch.context() as patch:
        patch.setattr(notify, "lookup", lambda text: german.get(text, text))
        notify.know_templates(german)
        yield
    notify.know_templates(german)


@pytest.mark.usefixtures("in_german")
def test_a_sentence_with_names_in_it_is_translated() -> None:
    assert notify.translated("There is no photo /a b/c.jpg. Choose a picture file.") == (
        "Es gibt kein Foto /a b/c.jpg. Wählen Sie eine Bilddatei."
    )
    assert (
        notify.translated("Only 2 of 3 people were found in x.png") == "Nur 2 von 3 Personen wurden gefunden in x.png"
    )
    assert notify.translated("Made the asset Ann. Save the file to see it in the asset browser").startswith(
        "Asset Ann "
    )
    assert notify.translated("Linkes Auge, äußerer Winkel, 87% sure") == "Linkes Auge, äußerer Winkel, 87% sicher"
    assert notify.translated("A sentence that nobody knows.") == "A sentence that nobody knows."
    assert notify.translated(notify.own_error("KeyError: 'a'")).startswith("Pantomime hat selbst")


@pytest.mark.usefixtures("in_german")
def test_what_the_solver_says_of_files_is_translated(tmp_path: Path) -> None:
    files = {
        "phone.heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64),
        "film.jpg": b"\x1aE\xdf\xa3" + bytes(64),
        "text.jpg": b"no picture",
        "empty.png": b"",
        "cut.png": b"\x89PNG\r\n\x1a\n" + bytes(8),
        "text.mp4": b"no video",
        "cut.mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(64),
        "sound.wav": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64),
    }
    said = []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        read = Clip if name.endswith(("4", "wav")) else read_photo
        with pytest.raises(MediaError) as error:
            read(tmp_path / name)
        said.append(str(error.value))
    said.append(too_large("wall.png", " (40000 × 40000)"))
    lacks = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "core" / "launch.py")], capture_output=True, text=True, check=False
    )
    said.append(lacks.stderr.strip())
    end = "Try again; if it stays so, look at the log."
    said += [f"The solver {why}. {end}" for why in ("crashed (SIGSEGV)", "stopped unexpectedly (exit status 1): why")]
    left = [text for text in said if notify.translated(text) == text]
    assert not left
    assert notify.translated(said[0]).startswith("phone.heic ist ein HEIC-Bild")


def test_the_walk_finds_texts_of_every_kind() -> None:
    texts = all_texts()
    for text in (
        "Capture",  # a panel
        "Look Through Camera",  # an operator
        "Snap to floor",  # a button
        "How strong",  # a property of an operator
        "Licensed",  # an item of an enumeration
        "Select an avatar",  # why something can't be pressed
        "Fitting the body",  # a stage of the solver
        "Smile",
        "Left arm",
        "left thumb, joint 1",
        "right index fingertip",
        "left mouth corner",
    ):
        assert text in texts, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_lacks_its_translation(language: str) -> None:
    known = translations.texts(language)
    missing = {text: where for text, where in all_texts().items() if text not in known}
    assert not missing, f"add these to panels/data/{language}.json: {missing}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_what_is_filled_in_and_the_manners_of_tooltips(language: str) -> None:
    for text, other in translations.texts(language).items():
        assert other, text
        assert re.findall(r"\{.*?\}|%[sdif]", other) == re.findall(r"\{.*?\}|%[sdif]", text), text
        assert not other.endswith(".") or text.endswith("."), text


# What Blender's own German (4.3 and 5.2) takes in another sense: its face is a polygon, its fast is to paste.
MISTAKEN = (
    "Amount", "Face", "Fast", "Height", "Keys", "Lock", "Main", "Mean", "Normal", "Number", "Refit", "Shape keys",
    "Solver", "To",
)  # fmt: skip


def test_words_that_blender_takes_in_another_sense_are_translated_as_ours() -> None:
    found = set()
    for module in (operators, panels):
        for cls in module.CLASSES:
            rna = cls.bl_rna
            if issubclass(cls, bpy.types.Operator):
                rna = getattr(bpy.ops.pantomime, cls.bl_idname.partition(".")[2]).get_rna_type()
            for prop in rna.properties:
                if prop.identifier in _annotations(cls) and not prop.is_hidden:
                    items = [item.name for item in prop.enum_items] if prop.type == "ENUM" else []
                    mistaken = set(MISTAKEN).intersection([prop.name, *items])
                    found |= mistaken
                    own = prop.translation_context == "Pantomime"
                    assert own or not mistaken, f"{cls.__name__}.{prop.identifier}: {mistaken}"
    assert {"Fast", "Face", "Main"} <= found


def test_buttons_and_properties_are_translated_where_blender_speaks_the_language() -> None:
    if "de_DE" not in bpy.app.translations.locales:
        pytest.skip("this Blender has no languages")
    view = bpy.context.preferences.view
    before = view.language
    try:
        view.language, view.use_translate_interface = "de_DE", True
        translate = bpy.app.translations.pgettext_iface
        assert translate("Snap to floor", "Operator") == "Auf den Boden"
        assert translate("Height (cm)") == "Größe (cm)"
    finally:
        view.language = before
