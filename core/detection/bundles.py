"""MediaPipe's plain networks to the `.task` bundles that its Tasks interface loads. Pure bytes in, bytes out.

A `.task` bundle is a ZIP with stored (not compressed) entries. The pose networks of `mediapipe==0.10.21` lack the
metadata that says how pixels are scaled, which the Tasks interface insists on, so it is written here in TFLite's
metadata format (`metadata_schema.fbs`, Apache-2.0, in MediaPipe's own wheel).
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

# XNNPACK maps weights straight from the file only where they are aligned; else it copies and warns.
_ALIGNMENT = 16
_LOCAL_HEADER_BYTES = 30
_EPOCH = (1980, 1, 1, 0, 0, 0)


def with_normalisation(network: bytes, mean: float, std: float) -> bytes:
    """A TFLite model with metadata: its input is an RGB image, scaled to (value - mean) / std.

    Needs `flatbuffers` and `mediapipe` (for the generated schema classes). Raises ImportError without them.
    """
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))
    buffer = schema.BufferT()
    buffer.data = list(_image_metadata(mean, std))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name = "TFLITE_METADATA"
    entry.buffer = len(model.buffers) - 1
    kept = [item for item in model.metadata or [] if item.name not in (b"TFLITE_METADATA", "TFLITE_METADATA")]
    model.metadata = [*kept, entry]
    builder = flatbuffers.Builder(len(network))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


# The face mesh with attention, taken apart where it has operations of MediaPipe's own: tensors by name, in and out.
_ATTENTION = {
    "mesh.tflite": ("input_1", ("output_mesh", "conv_faceflag", "p_re_lu_3")),
    "lips.tflite": ("transform_tensor_bilinear_v2", ("reshape_1",)),
    "right_eye.tflite": ("transform_tensor_bilinear_v2_1", ("reshape_3", "reshape_4")),  # lids and brows; the iris
    "left_eye.tflite": ("transform_tensor_bilinear_v2_2", ("reshape_6", "reshape_7")),
}


def attention_parts(network: bytes) -> dict[str, bytes]:
    """The face mesh with attention as four networks without operations that only MediaPipe knows.

    Needs what `with_normalisation` does, and raises what it does.
    """
    return {name: _part(network, start, ends) for name, (start, ends) in _ATTENTION.items()}


def _part(network: bytes, start: str, ends: tuple[str, ...]) -> bytes:
    """The part of a TFLite model between tensors, as a model."""
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))
    graph = model.subgraphs[0]
    index = {tensor.name.decode(): i for i, tensor in enumerate(graph.tensors)}
    maker = {int(out): number for number, op in enumerate(graph.operators) for out in op.outputs}
    first, last = index[start], [index[name] for name in ends]
    wanted, numbers = list(last), set()
    while wanted:
        number = maker.get(wanted.pop())
        if number is not None and number not in numbers:
            numbers.add(number)
            wanted += [int(i) for i in graph.operators[number].inputs if i >= 0 and i != first]
    graph.operators = [graph.operators[number] for number in sorted(numbers)]
    used = sorted({int(i) for op in graph.operators for i in (*op.inputs, *op.outputs) if i >= 0} | {first})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}
    graph.tensors = [graph.tensors[i] for i in used]
    for op in graph.operators:
        op.inputs, op.outputs = ([place[int(i)] for i in ids] for ids in (op.inputs, op.outputs))
    graph.inputs, graph.outputs = [place[first]], [place[i] for i in last]
    buffers = sorted({0} | {tensor.buffer for tensor in graph.tensors})
    for tensor in graph.tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    model.buffers = [model.buffers[i] for i in buffers]
    model.metadata, model.metadataBuffer, model.signatureDefs = None, None, None
    builder = flatbuffers.Builder(len(network))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _image_metadata(mean: float, std: float) -> bytes:
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    options = schema.NormalizationOptionsT()
    options.mean, options.std = [mean], [std]
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, options
    image = schema.ImagePropertiesT()
    image.colorSpace = schema.ColorSpaceType.RGB
    content = schema.ContentT()
    content.contentPropertiesType, content.contentProperties = schema.ContentProperties.ImageProperties, image
    tensor = schema.TensorMetadataT()
    tensor.name, tensor.processUnits, tensor.content = "image", [unit], content
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]
    model = schema.ModelMetadataT()
    model.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"M001")
    return bytes(builder.Output())


def bundle(entries: dict[str, bytes]) -> bytes:
    """A `.task` file of named networks; the same entries always give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            start = buffer.tell() + _LOCAL_HEADER_BYTES + len(name.encode())
            padding = -start % _ALIGNMENT
            if padding:
                # An extra field is at least its own four bytes: id (zipalign's) and length.
                padding += _ALIGNMENT if padding < 4 else 0
                info.extra = b"\x35\xd9" + (padding - 4).to_bytes(2, "little") + bytes(padding - 4)
            archive.writestr(info, data)
    return buffer.getvalue()
