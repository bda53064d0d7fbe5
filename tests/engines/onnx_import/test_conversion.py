"""Conversion of ONNX files on import, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fasdk.backends.onnxruntime import OnnxRuntimeEngine
from fasdk.bundle.graph import MAX_BATCH_KEY
from fasdk.errors import ExportError, FasdkError, ParityError
from fasdk_engines.onnx_import.description import read_description
from fasdk_engines.onnx_import.import_graph import ImportedGraph, import_graph, with_sizes
from fasdk_engines.onnx_import.interpretation import read_signature
from fasdk_engines.onnx_import.onnx_file import read_onnx_file
from fasdk_engines.onnx_import.outputs import SCORE_OUTPUT
from fasdk_engines.onnx_import.standard_form import simplify, to_known_opset

from support.onnx_builder import Builder, softmax, value_info

TOML = """
name = "net"
published_in = "none"
modalities = ["rgb"]
labels = ["attack", "live"]
live_index = 1
CONSTANTS
[inputs.rgb]
graph_input = "image"
crop = "face"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]
[output]
kind = "KIND"
"""
SIZE = 8


def network(b: Builder, x: str = "image", columns: int = 2) -> str:
    features = b.op("Relu", b.conv(x, 3, 8, 3))
    pooled = b.op("Flatten", b.op("GlobalAveragePool", features), axis=1)
    return b.gemm(pooled, 8, columns)


def finished(b: Builder, out: str, *, ir: int = 8, batch: object = "N") -> onnx.ModelProto:
    image = value_info("image", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])  # type: ignore[list-item]
    return b.model([image], [value_info(out, TensorProto.FLOAT, None)], ir)


def imported(
    model: onnx.ModelProto, folder: Path, kind: str = "logits", constants: str = ""
) -> ImportedGraph:
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    (folder / "net.toml").write_text(TOML.replace("KIND", kind).replace("CONSTANTS", constants))
    return import_graph(read_onnx_file(folder / "net.onnx"), read_description(folder / "net.toml"))


@pytest.mark.parametrize("opset", range(9, onnx.defs.onnx_opset_version() + 1))
def test_every_opset_is_converted_and_said(opset, tmp_path):
    b = Builder(opset, 0)
    found = imported(finished(b, network(b)), tmp_path)
    assert found.interpretation.opset == opset
    assert 17 <= found.interpretation.graph_opset <= 19
    assert any(f"opset {opset} was converted" in n for n in found.notes) == (not 17 <= opset <= 19)


@pytest.mark.parametrize(
    ("opset", "operator", "attributes"),
    [(20, "Gelu", {}), (23, "Gelu", {"approximate": "tanh"}), (24, "Swish", {"alpha": 1.5})],
)
def test_a_newer_operator_is_written_out(opset, operator, attributes, tmp_path):
    b = Builder(opset, 0)
    x = b.op(operator, b.conv("image", 3, 3, 3), **attributes)
    found = imported(finished(b, network(b, x)), tmp_path)
    assert found.parity < 1e-6
    assert any(operator in note and "written out" in note for note in found.notes)


def test_old_resizes_keep_their_mapping_of_pixels(tmp_path):
    for opset in (9, 10):
        b = Builder(opset, 0)
        x = b.resize("image", 3, SIZE, 2 * SIZE, None)
        out = network(b, x)
        b.nodes[-1].attribute.extend([])
        assert imported(finished(b, out), tmp_path).parity < 1e-6


def test_a_conversion_that_changes_the_answer_is_refused(tmp_path, monkeypatch):
    def spoiled(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
        converted, notes = to_known_opset(model)
        tensor = converted.graph.initializer[0]
        changed = 1.1 * numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
        return converted, notes

    monkeypatch.setattr("fasdk_engines.onnx_import.import_graph.to_known_opset", spoiled)
    b = Builder(13, 0)
    with pytest.raises(ParityError, match=r"the conversion \(opset 13 was .*changed the output"):
        imported(finished(b, network(b)), tmp_path)


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [("QuantizeLinear", 3), ("DynamicQuantizeLinear", 1), ("DequantizeLinear", 3)],
)
def test_a_quantized_file_is_refused_for_the_float_one(operator, inputs, tmp_path):
    b = Builder(13, 0)
    out = network(b)
    scale, zero = b.constant(0.1), b.constant(0, np.uint8)
    x = b.constant([1, 2], np.uint8) if operator == "DequantizeLinear" else "image"
    name = b.name("q")
    b.nodes.append(helper.make_node(operator, [x, scale, zero][:inputs], [name], name))
    with pytest.raises(ExportError, match=r"float32 file it was made from, .*--precision int8"):
        imported(finished(b, out), tmp_path)


@pytest.mark.parametrize(
    ("kind", "end", "columns", "line"),
    [
        ("logits", "softmax", 2, 'kind = "probabilities"'),
        ("logits", "exp", 2, 'kind = "probabilities"'),
        ("logits", "sigmoid", 1, 'kind = "probability"'),
        ("logit", "sigmoid", 1, 'kind = "probability"'),
        ("logit", "sigmoid by hand", 1, 'kind = "probability"'),
        ("probability", "none", 1, 'kind = "logit"'),
        ("probabilities", "none", 2, 'kind = "logits"'),
        ("probabilities", "log-softmax", 2, 'kind = "logits"'),
        ("logit", "softmax column", 1, 'kind = "probability"'),
        ("logit", "none", 2, 'kind = "logits"'),
    ],
)
def test_a_wrong_kind_of_output_is_refused_with_the_line_that_works(
    kind, end, columns, line, tmp_path
):
    b = Builder(13, 3)
    x = network(b, columns=2 if end == "softmax column" else columns)
    if end == "softmax":
        x = b.op("Identity", b.op("Softmax", x, axis=1))
    elif end == "exp":
        grown = b.op("Exp", x)
        x = b.op("Div", grown, b.reduce("ReduceSum", grown, [1]))
    elif end == "sigmoid":
        x = b.squeeze(b.op("Sigmoid", x), [1])
    elif end == "sigmoid by hand":
        one = b.constant(1.0)
        x = b.op("Div", one, b.op("Add", one, b.op("Exp", b.op("Neg", x))))
    elif end == "log-softmax":
        x = b.op("LogSoftmax", x, axis=1)
    elif end == "softmax column":
        x = b.slice(b.op("Softmax", x, axis=1), [1], [2], [1])
    with pytest.raises(ExportError) as refusal:
        imported(finished(b, x), tmp_path, kind)
    assert line in str(refusal.value)
    assert imported(finished(b, x), tmp_path, line.split('"')[1]).parity < 1e-5


def test_a_probability_by_chance_on_images_is_told_by_inputs_outside_their_range(tmp_path):
    b = Builder(13, 0)
    small = b.op("Mul", network(b, columns=1), b.constant(1e-3))
    out = b.op("Add", small, b.constant(0.5))
    with pytest.raises(ExportError, match=r"on inputs far outside the range of images.*logit"):
        imported(finished(b, out), tmp_path, "probability")


def test_saturated_scores_do_not_hide_wrong_logits(tmp_path, monkeypatch):
    b = Builder(17, 0)
    out = b.op("Mul", network(b), b.constant(1e4))
    from fasdk_engines.onnx_import import import_graph as module

    real = module.append_logits

    def halved(model: onnx.ModelProto, kind: object) -> bool:
        for tensor in model.graph.initializer:
            if numpy_helper.to_array(tensor).max(initial=0) == np.float32(1e4):
                tensor.CopyFrom(numpy_helper.from_array(np.array(9e3, np.float32), tensor.name))
        return real(model, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "append_logits", halved)
    with pytest.raises(ParityError, match="differ by"):
        imported(finished(b, out), tmp_path)


def test_a_graph_of_one_capture_is_run_one_by_one(tmp_path):
    b = Builder(17, 0)
    image = value_info("image", TensorProto.FLOAT, [3, SIZE, SIZE])
    out = network(b, b.unsqueeze("image", [0]))
    model = b.model([image], [value_info(out, TensorProto.FLOAT, None)], 8)
    found = imported(model, tmp_path)
    assert found.interpretation.max_batch == 1
    assert found.notes == (
        "the bundle takes one capture at a time: the file's input has no batch axis",
    )
    metadata = onnx.load_from_string(found.graph).metadata_props
    assert [(entry.key, entry.value) for entry in metadata] == [(MAX_BATCH_KEY, "1")]
    engine = OnnxRuntimeEngine(found.graph)
    rgb = np.random.default_rng(0).standard_normal((4, 3, SIZE, SIZE)).astype(np.float32)
    together = engine.run({"rgb": rgb}).logits
    alone = [engine.run({"rgb": rgb[i : i + 1]}).logits[0] for i in range(4)]
    np.testing.assert_array_equal(together, alone)


def test_a_batch_that_meets_itself_is_refused_where_the_file_takes_batches(tmp_path):
    b = Builder(17, 0)
    x = network(b)
    out = b.op("Sub", x, b.reduce("ReduceMean", x, [0]))
    with pytest.raises(ParityError, match=r"moves with its batch-mates: export in eval mode"):
        imported(finished(b, out), tmp_path)


@pytest.mark.parametrize(("value", "works"), [("8", True), ("[8]", True), ("[1, 2]", False)])
def test_a_constant_input_has_one_value(value, works, tmp_path):
    b = Builder(17, 0)
    share = b.op("Cast", b.op("Div", "length", b.ints([8])), to=TensorProto.FLOAT)
    out = network(b, b.op("Mul", "image", share))
    model = finished(b, out)
    model.graph.input.append(value_info("length", TensorProto.INT64, [1]))
    constants = f"[constants]\nlength = {value}\n"
    if not works:
        with pytest.raises(ExportError, match=r"constants.length has 2 elements .*give one value"):
            imported(model, tmp_path, constants=constants)
        return
    found = imported(model, tmp_path, constants=constants)
    assert list(found.interpretation.constants) == ["length"]


def test_a_map_is_reduced_as_said(tmp_path):
    b = Builder(13, 0)
    out = b.conv("image", 3, 1, 3)
    rgb = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    import onnxruntime as ort

    model = finished(b, out)
    session = ort.InferenceSession(model.SerializeToString())
    values = session.run(None, {"image": rgb})[0][:, 0]
    for reduction, expected in {
        "mean": values.mean((1, 2)),
        "max": values.max((1, 2)),
        "center": values[:, SIZE // 2, SIZE // 2],
    }.items():
        found = imported(model, tmp_path, f'logit"\nreduction = "{reduction}')
        logits = OnnxRuntimeEngine(found.graph).run({"rgb": rgb}).logits.astype(np.float64)
        np.testing.assert_allclose(
            softmax(logits)[:, 1], 1 / (1 + np.exp(-expected.astype(np.float64))), atol=1e-6
        )
    with pytest.raises(ExportError, match=r'a map of scores .*write reduction = "mean"'):
        imported(model, tmp_path, "logit")


def test_sizes_are_read_from_the_file(tmp_path):
    b = Builder(17, 0)
    model = finished(b, network(b))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "net.toml").write_text(TOML.replace("KIND", "logits").replace("CONSTANTS", ""))
    file = read_onnx_file(tmp_path / "net.onnx")
    filled = with_sizes(file, read_description(tmp_path / "net.toml"))
    spec = next(iter(filled.inputs.values())).spec
    assert (spec.width, spec.height) == (SIZE, SIZE)
    assert str(read_signature(file.model).inputs[0]) == "image (float32 [N, 3, 8, 8])"


def test_a_conversion_leaves_the_file_itself_alone():
    b = Builder(11, 0)
    model = finished(b, b.dropout(network(b)), ir=13)
    before = model.SerializeToString(deterministic=True)
    simple, notes = simplify(model)
    assert model.SerializeToString(deterministic=True) == before
    assert simple.ir_version == 10
    assert len(notes) == 2 and SCORE_OUTPUT not in before.decode("latin-1")


@pytest.mark.parametrize("opset", [8, onnx.defs.onnx_opset_version() + 1])
def test_an_opset_outside_the_converters_range_is_refused(opset, tmp_path):
    b = Builder(13, 0)
    model = finished(b, network(b))
    model.opset_import[0].version = opset
    with pytest.raises(FasdkError, match=rf"opset {opset} is (older|newer) than"):
        imported(model, tmp_path)


def test_a_logit_of_8_bit_images_is_told_by_levels_that_no_image_has(tmp_path):
    b = Builder(17, 0)
    x = b.op("Div", b.op("Cast", "image", to=TensorProto.FLOAT), b.constant(255.0))
    small = b.op("Mul", network(b, x, columns=1), b.constant(1e-2))
    out = b.op("Add", small, b.constant(0.5))
    image = value_info("image", TensorProto.UINT8, ["N", 3, SIZE, SIZE])
    model = b.model([image], [value_info(out, TensorProto.FLOAT, None)], 8)
    raw = TOML.replace("127.5", "0.0").replace("128.0", "1.0").replace("CONSTANTS", "")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    file = read_onnx_file(tmp_path / "net.onnx")
    for kind, complaint in (("logit", None), ("probability", 'write kind = "logit"')):
        (tmp_path / "net.toml").write_text(raw.replace("KIND", kind))
        description = read_description(tmp_path / "net.toml")
        if complaint is None:
            assert import_graph(file, description).parity < 1e-6
            continue
        with pytest.raises(ExportError, match=complaint):
            import_graph(file, description)
