"""Import of ONNX files as models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fasdk.bundle.manifest import Precision
from fasdk.capture import Modality
from fasdk.errors import BackendError, ExportError, ModelError, ParityError
from fasdk.preprocess import PRESENCE
from fasdk_engines.graph.fp16 import convert
from fasdk_engines.graph.islands import islands_matching
from fasdk_engines.graph.lint import lint_tensorrt
from fasdk_engines.onnx_import.description import ImportDescription, OutputKind, read_description
from fasdk_engines.onnx_import.import_graph import import_graph
from fasdk_engines.onnx_import.onnx_file import read_onnx_file

from support.sample_graphs import add_weight, parse, run

TOML = """
name = "lobby-net"
published_in = "Doe et al., 2025"
modalities = ["rgb", "ir"]
required = ["rgb"]
labels = ["attack", "live"]
live_index = 1

[inputs.rgb]
graph_input = "input.1"
width = 12
height = 8
crop = "face"
mean = [127.5, 127.5, 127.5]
std = [128.0, 128.0, 128.0]

[inputs.ir]
width = 8
height = 8
crop = "frame"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
missing_value = -1.0

[output]
name = "score"
kind = "KIND"
"""

# What a graph does with `both`, [batch, 6]: `score` by kind of output.
ENDS = {
    "logits": "score = MatMul (both, two)",
    "probabilities": "raw = MatMul (both, two) score = Softmax <axis = 1> (raw)",
    "logit": "score = MatMul (both, one)",
    "probability": "raw = MatMul (both, one) score = Sigmoid (raw)",
}
# The same without an operator at the end that could be taken off.
BARE_ENDS = {
    "probabilities": """
        raw = MatMul (both, two) grown = Exp (raw) sum = ReduceSum (grown, axis)
        score = Div (grown, sum)
    """,
    "probability": """
        raw = MatMul (both, one) turned = Neg (raw) grown = Exp (turned) more = Add (grown, unit)
        score = Div (unit, more)
    """,
}


def graph(end: str, shape: str = "batch,2", rgb: str = "N,3,8,12", extra: str = "") -> str:
    return f"""
    <ir_version: 8, opset_import: ["" : 17]>
    outside (float[{rgb}] "input.1", float[N,3,8,8] ir{extra}) => (float[{shape}] score)
    <int64[2] plane = {{2, 3}}, int64[1] axis = {{1}}, float[1] unit = {{1.0}}>
    {{
      a = ReduceMean <axes = [2, 3], keepdims = 0> ("input.1")
      b = ReduceMean <axes = [2, 3], keepdims = 0> (ir)
      both = Concat <axis = 1> (a, b)
      {end}
    }}
    """.replace('"input.1"', "input_1")


def model(text: str) -> onnx.ModelProto:
    parsed = parse(text)
    rng = np.random.default_rng(0)
    add_weight(parsed, "two", 3.0 * rng.standard_normal((6, 2)))
    add_weight(parsed, "one", 3.0 * rng.standard_normal((6, 1)))
    for value in [*parsed.graph.input]:  # the text form has no dots in names
        value.name = value.name.replace("input_1", "input.1")
    for node in parsed.graph.node:
        node.input[:] = [name.replace("input_1", "input.1") for name in node.input]
    return parsed


def saved(folder: Path, content: onnx.ModelProto | str, name: str = "outside.onnx") -> Path:
    parsed = model(content) if isinstance(content, str) else content
    (folder / name).write_bytes(parsed.SerializeToString())
    return folder / name


def described(
    folder: Path, kind: str = "logits", change: tuple[str, str] = ("", "")
) -> ImportDescription:
    path = folder / "outside.toml"
    path.write_text(TOML.replace(*change).replace("KIND", kind))
    return read_description(path)


def shape_of(kind: str) -> str:
    return "batch,1" if OutputKind(kind).is_one_score else "batch,2"


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("kind", [kind.value for kind in OutputKind])
def test_every_kind_of_output_becomes_two_logits_with_the_same_scores(kind, bare, tmp_path):
    end = BARE_ENDS.get(kind, ENDS[kind]) if bare else ENDS[kind]
    path = saved(tmp_path, graph(end, shape_of(kind)))
    imported = import_graph(read_onnx_file(path), described(tmp_path, kind))
    assert imported.parity < 1e-6
    found = onnx.load_from_string(imported.graph)
    assert [value.name for value in found.graph.input] == ["rgb", "ir"]
    assert [value.name for value in found.graph.output] == ["logits"]
    operators = {node.op_type for node in found.graph.node}
    assert not {"Sigmoid", "Softmax"} & operators
    assert ("Log" in operators) == (bare and kind in BARE_ENDS)

    rng = np.random.default_rng(1)
    rgb, ir = (rng.standard_normal((5, 3, 8, w)).astype(np.float32) for w in (12, 8))
    logits = run(imported.graph, {"rgb": rgb, "ir": ir})["logits"].astype(np.float64)
    score = 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))
    both = np.concatenate([rgb.mean((2, 3)), ir.mean((2, 3))], axis=1)
    weights = np.random.default_rng(0)
    two, one = (3.0 * weights.standard_normal((6, n)) for n in (2, 1))
    odds = (both @ one)[:, 0] if OutputKind(kind).is_one_score else both @ two @ [-1.0, 1.0]
    np.testing.assert_allclose(score, 1.0 / (1.0 + np.exp(-odds)), atol=1e-5)


@pytest.mark.parametrize("reshape", ["Squeeze (soft, axis)", "Reshape (soft, every)"])
def test_a_sigmoid_is_taken_off_through_a_change_of_shape(reshape, tmp_path):
    end = f"""
        every = Constant <value_ints = [-1]> () raw = MatMul (both, one) soft = Sigmoid (raw)
        score = {reshape}
    """
    imported = import_graph(
        read_onnx_file(saved(tmp_path, graph(end, "batch"))), described(tmp_path, "probability")
    )
    operators = {node.op_type for node in onnx.load_from_string(imported.graph).graph.node}
    assert not {"Sigmoid", "Log"} & operators


def test_softmax_read_by_another_node_is_kept(tmp_path):
    end = """
        raw = MatMul (both, two) score = Softmax <axis = 1> (raw)
        sure = ReduceMax <axes = [1], keepdims = 1> (score) zero = Sub (sure, sure)
        wide = Concat <axis = 1> (sure, zero) certainty = Identity (wide)
    """
    text = graph(end).replace("(float[batch,2] score)", "(float[B,2] score, float[B,2] certainty)")
    description = described(
        tmp_path, "probabilities", ('name = "score"', 'name = "score"\ncertainty = "certainty"')
    )
    imported = import_graph(read_onnx_file(saved(tmp_path, text)), description)
    assert imported.family.has_certainty
    found = onnx.load_from_string(imported.graph).graph
    assert [value.name for value in found.output] == ["logits", "certainty"]
    assert {"Softmax", "Log"} <= {node.op_type for node in found.node}


def test_log_odds_stay_float32_in_half_precision(tmp_path):
    path = saved(tmp_path, graph(BARE_ENDS["probability"], "batch,1"))
    imported = import_graph(read_onnx_file(path), described(tmp_path, "probability"))
    half = convert(
        imported.graph,
        Precision.FP16,
        islands_matching(imported.graph, imported.family.float32_islands),
    )
    lint_tensorrt(half)
    (clip,) = (n for n in onnx.load_from_string(half).graph.node if n.op_type == "Clip")
    bounds = {t.name: t.data_type for t in onnx.load_from_string(half).graph.initializer}
    assert bounds[clip.input[1]] == TensorProto.FLOAT  # float16 would round the upper bound to 1


def test_values_that_bear_our_names_make_way(tmp_path):
    end = "rgb = MatMul (both, two) logits = Add (rgb, rgb) score = Sub (logits, rgb)"
    imported = import_graph(read_onnx_file(saved(tmp_path, graph(end))), described(tmp_path))
    assert imported.parity < 1e-6


def test_a_description_becomes_a_family(tmp_path):
    family = described(tmp_path).family()
    assert (family.name, family.modalities) == ("onnx", (Modality.RGB, Modality.IR))
    assert family.required == (Modality.RGB,)
    assert family.input_shapes(family.default_config) == {"rgb": (3, 8, 12), "ir": (3, 8, 8)}
    assert family.preprocess(family.default_config)[Modality.IR].missing_value == -1.0
    with pytest.raises(ModelError, match="no module to load weights into"):
        family.build(family.default_config)


def test_all_modalities_are_required_unless_it_is_said(tmp_path):
    description = described(tmp_path, change=('required = ["rgb"]', ""))
    assert description.family().required == (Modality.RGB, Modality.IR)


PRESENT = ("live_index = 1", 'live_index = 1\npresence = "mask"')
MASKED = """
    start = Constant <value_ints = [0]> () middle = Constant <value_ints = [1]> ()
    finish = Constant <value_ints = [2]> ()
    seen_a = Slice (mask, start, middle, middle) seen_b = Slice (mask, middle, finish, middle)
    kept_a = Mul (a, seen_a) kept_b = Mul (b, seen_b) kept = Concat <axis = 1> (kept_a, kept_b)
    score = MatMul (kept, two)
"""


def test_a_graph_may_be_told_which_modalities_a_capture_holds(tmp_path):
    path = saved(tmp_path, graph(MASKED, extra=", float[N,2] mask"))
    imported = import_graph(read_onnx_file(path), described(tmp_path, change=PRESENT))
    assert imported.family.presence_order == (Modality.RGB, Modality.IR)
    names = [value.name for value in onnx.load_from_string(imported.graph).graph.input]
    assert names == ["rgb", "ir", PRESENCE]


def test_a_graph_that_looks_at_absent_pixels_is_refused(tmp_path):
    end = (
        "seen = ReduceSum <keepdims = 1> (mask, axis) s = MatMul (both, two) score = Add (s, seen)"
    )
    path = saved(tmp_path, graph(end, extra=", float[N,2] mask"))
    with pytest.raises(ParityError, match=r"an absent modality's pixels move a score by .*: mask"):
        import_graph(read_onnx_file(path), described(tmp_path, change=PRESENT))


def test_a_graph_in_which_batch_mates_meet_is_refused(tmp_path):
    end = """
        crowd = ReduceMean <axes = [0], keepdims = 1> (both) apart = Sub (both, crowd)
        score = MatMul (apart, two)
    """
    path = saved(tmp_path, graph(end))
    with pytest.raises(ParityError, match=r"outside.onnx: a capture's score moves .* eval mode"):
        import_graph(read_onnx_file(path), described(tmp_path))


PLAIN = ENDS["logits"]
BRANCH = """
    flag = Constant <value = bool {1}> ()
    score = If (flag) <
      then_branch = g1 () => (float[batch,2] t) { t = RandomNormalLike (plain) },
      else_branch = g2 () => (float[batch,2] e) { e = Identity (plain) }
    >
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            graph("on = Constant <value = bool {1}> () half = Constant <value = float {0.5}> () "
                  "plain = MatMul (both, two) score = Dropout (plain, half, on)"),
            "no bundle holds such a graph: node Dropout .* eval mode",
        ),
        (
            graph("plain = MatMul (both, two) noise = RandomNormalLike (plain) "
                  "score = Add (plain, noise)"),
            "RandomNormalLike .* is random or for training: export in eval mode",
        ),
        (
            graph("noise = RandomNormal <shape = [1, 2]> () plain = MatMul (both, two) "
                  "score = Add (plain, noise)"),
            "RandomNormal .* is random",
        ),
        (graph("plain = MatMul (both, two)" + BRANCH), "RandomNormalLike .* is random"),
        (
            graph("plain = MatMul (both, two) least = ReduceMin <keepdims = 0> (plain) "
                  "flag = Cast <to = 9> (least)" + BRANCH.split("()", 1)[1]),
            "If 'score' is control flow: export witho",
        ),
        (graph("score = Unique (both)"), "Unique 'score' is not a supported operator"),
        (graph(PLAIN, rgb="N,3,8,8"), "says width 12 and height 8: write width = 8 and height = 8"),
        (graph(PLAIN, rgb="N,5,8,12"), r"is \[\?, 5, 8, 12\], expected \[batch, 3, 8, 12\]:"),
        (graph(PLAIN, rgb="N,3,96"), r"'input.1' is \[\?, 3, 96\], expected \[batch, 3, 8, 12\]"),
        (graph(PLAIN, extra=", float[N,2] age"), "nothing is described for graph input 'age'"),
        (
            graph(PLAIN).replace('"" : 17', '"" : 8'),
            "opset 8 is older than 9, the oldest that can be converted: export again with opset 17",
        ),
        (
            graph("score = ReduceMean <axes = [3], keepdims = 0> (ir)", "N,3,8"),
            r"output 'score' is \[batch, 3, 8\], which holds no axis of 2, one column a label",
        ),
        (graph(ENDS["logit"], "N,1"), r"'score' is \[batch, 1\], one score .*: write kind ="),
        (
            graph("s = MatMul (both, two) score = Cast <to = 7> (s)").replace(
                "float[batch,2] score", "int64[batch,2] score"
            ),
            "output 'score' is int64, which are no scores: name an output of scores",
        ),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_fit_for_deployment_is_refused_with_the_fix(text, complaint, tmp_path):
    path = saved(tmp_path, text)
    with pytest.raises(ExportError, match=complaint) as caught:
        import_graph(read_onnx_file(path), described(tmp_path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_batch_norm_in_training_mode_is_refused(tmp_path):
    end = """
        norm, m, v = BatchNormalization <training_mode = 1> (both, ones, ones, ones, ones)
        score = MatMul (norm, two)
    """
    parsed = model(graph(end))
    add_weight(parsed, "ones", np.ones(6))
    with pytest.raises(ExportError, match=r"only the first output|training_mode is 1, expected 0"):
        import_graph(read_onnx_file(saved(tmp_path, parsed)), described(tmp_path))


def test_an_operator_of_another_domain_is_refused(tmp_path):
    parsed = model(graph(PLAIN))
    parsed.graph.node[-1].domain = "com.vendor"
    parsed.opset_import.append(helper.make_opsetid("com.vendor", 1))
    with pytest.raises(ExportError, match=r"is of domain 'com.vendor': only ONNX's own"):
        import_graph(read_onnx_file(saved(tmp_path, parsed)), described(tmp_path))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('"input.1"', '"image"'), "no input 'image', only 'input.1', 'ir': correct inputs.rgb.g"),
        (
            ('name = "score"', 'name = "prob"'),
            "no output 'prob', only 'score': correct output",
        ),
        (('name = "score"', 'certainty = "score"'), "has outputs 'score': say which one in out"),
        (
            ('"input.1"', '"ir"'),
            r"\[inputs.rgb\] and \[inputs.ir\] share input 'ir' but have different width: wr",
        ),
    ],
)
def test_a_description_of_another_graph_is_refused(change, complaint, tmp_path):
    path = saved(tmp_path, graph(PLAIN))
    with pytest.raises(ExportError, match=complaint):
        import_graph(read_onnx_file(path), described(tmp_path, change=change))


@pytest.mark.parametrize(
    ("kind", "end", "complaint"),
    [
        (
            "probability",
            ENDS["logit"],
            "holds .*, which are no probabilities: write kind = .logit. under",
        ),
        (
            "probabilities",
            "raw = MatMul (both, two) score = Sigmoid (raw)",
            "probabilities sum to .*, not to 1: export a softmax, or its logits",
        ),
    ],
)
def test_scores_that_are_no_probabilities_are_refused(kind, end, complaint, tmp_path):
    path = saved(tmp_path, graph(end, shape_of(kind)))
    with pytest.raises(ExportError, match=complaint):
        import_graph(read_onnx_file(path), described(tmp_path, kind))


def with_weights_outside(folder: Path, location: str, **entries: int) -> Path:
    parsed = model(graph(PLAIN))
    tensor = next(t for t in parsed.graph.initializer if t.name == "two")
    data = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    (folder / "weights.bin").write_bytes(b"head" + data + b"tail")
    return saved(folder, parsed)


def test_weights_beside_the_file_are_taken_in(tmp_path):
    path = with_weights_outside(tmp_path, "weights.bin", offset=4, length=48)
    inside, outside = tmp_path / "inside", tmp_path
    inside.mkdir()
    expected = import_graph(read_onnx_file(saved(inside, graph(PLAIN))), described(inside))
    assert import_graph(read_onnx_file(path), described(outside)).graph == expected.graph
    first = read_onnx_file(path).sha256
    (tmp_path / "weights.bin").write_bytes(b"HEAD" + (tmp_path / "weights.bin").read_bytes()[4:])
    assert read_onnx_file(path).sha256 != first


@pytest.mark.parametrize(
    ("location", "entries", "complaint"),
    [
        ("../weights.bin", {}, "weight 'two' lies outside its folder, in '../weights.bin': put"),
        ("inner/../weights.bin", {}, "lies outside its folder"),
        ("/etc/hostname", {}, "lies outside its folder"),
        ("link.bin", {}, "lies outside its folder"),
        ("", {}, "lies outside its folder"),
        ("none.bin", {}, "cannot read weights .*none.bin: No such file"),
        ("inner", {}, "inner: it is a directory, expected a regular file"),
        (
            "weights.bin",
            {"offset": 9, "length": 48},
            r"reaches past the end of 'weights.bin' .56 b",
        ),
        ("weights.bin", {"offset": -4, "length": 48}, "reaches past the end"),
        ("weights.bin", {"offset": "x"}, "reaches past the end"),
    ],
)
def test_weights_elsewhere_or_cut_short_are_refused(location, entries, complaint, tmp_path):
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = with_weights_outside(folder, location, **entries)
    with pytest.raises(ExportError, match=complaint) as caught:
        read_onnx_file(path)
    assert str(path) in str(caught.value)


def test_weights_outside_a_constant_of_an_inner_graph_are_found(tmp_path):
    parsed = model(graph("plain = MatMul (both, two)" + BRANCH))
    branch = next(n for n in parsed.graph.node if n.op_type == "If").attribute[0].g
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(1)))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    constant.attribute[0].t.external_data.add(key="location", value="../elsewhere.bin")
    branch.node.append(constant)
    with pytest.raises(ExportError, match="lies outside its folder"):
        read_onnx_file(saved(tmp_path, parsed))


def test_a_file_too_large_for_one_message_is_refused_unread(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse: no byte is written
    with pytest.raises(ExportError, match=r"large.onnx with its weights exceeds 2 GiB"):
        read_onnx_file(path)


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"not a graph"])
def test_import_refuses_a_file_that_is_not_onnx(content, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ExportError, match=r"bad.onnx: .* not an ONNX file"):
        read_onnx_file(tmp_path / "bad.onnx")


def test_a_file_onnx_runtime_cannot_run_is_refused(tmp_path):
    parsed = model(graph(PLAIN))
    add_weight(parsed, "ir_scale", np.ones((5, 7)))
    parsed.graph.node.insert(0, helper.make_node("Add", ["ir", "ir_scale"], ["scaled"]))
    parsed.graph.node[2].input[0] = "scaled"
    with pytest.raises((ExportError, BackendError), match=r"outside.onnx"):
        import_graph(read_onnx_file(saved(tmp_path, parsed)), described(tmp_path))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("width = 12", "widht = 12"), "unknown field inputs.rgb.widht: known here are width, he"),
        (("width = 12", 'width = "12"'), "field inputs.rgb.width: .*integer, found '12'"),
        (("width = 12", "width = 2024-01-01"), "field inputs.rgb.width: .*found '2024-01-01'"),
        (("live_index = 1", "live_index = 2"), "live_index 2 is outside labels"),
        (("live_index = 1", "live = 1"), "unknown field live: known here are name, published_in"),
        (("labels =", "label ="), "field labels is missing: add it"),
        (
            ('crop = "face"', 'crop = "head"'),
            "field inputs.rgb.crop: .*'face' or 'landmarks'",
        ),
        (('"rgb", "ir"]', '"rgb", "thermal"]'), "field modalities.1: .*'rgb', 'depth' or 'ir'"),
        (('"rgb", "ir"]', '"rgb"]'), "modalities are rgb but there are sections for .*inputs.ir"),
        (('"rgb", "ir"]', '"rgb", "rgb", "ir"]'), "modalities names one thing twice"),
        (('required = ["rgb"]', 'required = ["depth"]'), "required names a modality that"),
        (("[inputs.ir]", "[inputs.depth]"), "sections for .*inputs.depth"),
        (("std = [128.0, 128.0, 128.0]", "std = [0.0, 1.0, 1.0]"), "field inputs.rgb: .*no std of"),
        (('kind = "KIND"', 'kind = "map"'), "field output.kind: .*'logits', 'probabilities', 'log"),
        (('kind = "KIND"', 'sort = "map"'), "unknown field output.sort: known here are name, kin"),
        (("name = ", "name = = "), r"is not a TOML file: .*line 2"),
        (
            ('labels = ["attack", "live"]', 'labels = ["print", "mask", "live"]'),
            "output.kind 'logit' is one score of the second of two labels, but there are 3",
        ),
    ],
)
def test_a_mistake_in_a_description_names_the_file_and_the_field(change, complaint, tmp_path):
    with pytest.raises(ModelError, match=complaint) as caught:
        described(tmp_path, "logit", change)
    assert str(tmp_path / "outside.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "complaint"), [(None, "No such file"), (b"\xff", "UTF-8")])
def test_a_description_that_cannot_be_read_is_named(content, complaint, tmp_path):
    path = tmp_path / "none.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=f"none.toml.*{complaint}"):
        read_description(path)
