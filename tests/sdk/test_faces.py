"""Face detection with YuNet, and errors on unusable models and frames.

What needs the model itself is skipped where the reference folder is not beside the checkout.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from fasdk import faces
from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, FaceFinderError, FasdkError
from fasdk.faces import FaceFinder
from fasdk.quality import assess
from fasdk.reasons import Reason

from support.requirements import Requirement

# Where the eyes, nose and mouth are in the two photographs, by eye, in pixels of 480x640.
LANDMARKS = {
    "image_T1.jpg": [(192, 209), (264, 222), (228, 266), (182, 296), (240, 305)],
    "image_F1.jpg": [(224, 198), (297, 214), (228, 250), (200, 288), (259, 298)],
}


@pytest.fixture(scope="module")
def model(reference):
    path = reference / "yunet" / "face_detection_yunet_2026may.onnx"
    if not path.is_file():
        Requirement.PUBLISHED_FILES.skip(f"no {path.name}")
    return path


@pytest.fixture(scope="module")
def finder(model):
    return FaceFinder(model)


@pytest.fixture(scope="module")
def photographs(reference):
    """Both photographs, uint8 [640, 480, 3], red first."""
    read = {name: cv2.imread(str(reference / "silent-face" / name)) for name in LANDMARKS}
    return {name: np.ascontiguousarray(image[..., ::-1]) for name, image in read.items()}


def overlap(a: FaceBox, b: FaceBox) -> float:
    """Return intersection over union."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    common = max(width, 0) * max(height, 0)
    return common / (a.width * a.height + b.width * b.height - common)


@pytest.mark.parametrize("name", LANDMARKS)
@pytest.mark.parametrize("side", [160, 320, 640])
def test_the_face_in_a_photograph_is_found_where_it_is(model, photographs, name, side):
    (face,) = FaceFinder(model, longest_side_px=side).find(photographs[name])
    assert face.score > 0.85
    assert face.landmarks.shape == (5, 2)
    assert face.landmarks.dtype == np.float32
    off = np.linalg.norm(face.landmarks - LANDMARKS[name], axis=1)
    assert off.max() < 36, off  # half of what is between the eyes
    assert off.mean() < 18, off


def test_the_box_is_near_the_one_another_detector_gave(finder, reference, photographs):
    import json

    golden = json.loads((reference / "silent-face" / "golden.json").read_text())
    for name, image in photographs.items():
        (face,) = finder.find(image)
        assert overlap(face.box, FaceBox.of(golden[name]["face_box_xywh"])) > 0.6


def test_colors_are_taken_red_first_and_gray_frames_too(finder, photographs):
    image = photographs["image_T1.jpg"]
    (face,) = finder.find(image)
    (gray,) = finder.find(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    assert overlap(face.box, gray.box) > 0.8
    bgr = cv2.resize(image, (240, 320), interpolation=cv2.INTER_AREA)[..., ::-1]
    raw = cv2.FaceDetectorYN.create(str(finder.model), "", (240, 320), 0.7, 0.3)
    _, rows = raw.detect(np.ascontiguousarray(bgr))
    assert face.score == pytest.approx(float(rows[0, 14]), abs=1e-6)
    assert face.landmarks.ravel() == pytest.approx(2 * rows[0, 4:14], abs=1e-3)


def crowd(photographs, widths: tuple[int, ...]) -> np.ndarray:
    """Return 1280x720, the photograph side by side at other sizes; its face is 0.37 as wide."""
    frame = np.full((720, 1280, 3), 110, np.uint8)
    left = 0
    for width in widths:
        size = width, width * 4 // 3
        image = cv2.resize(photographs["image_T1.jpg"], size, interpolation=cv2.INTER_AREA)[:720]
        frame[: len(image), left : left + width] = image
        left += width
    return frame


def test_several_faces_come_largest_first_at_any_frame_size(finder, photographs):
    widths = (260, 540, 380)
    found = finder.find(crowd(photographs, widths))
    assert [face.box.x // 100 for face in found] == [3, 8, 0]
    sizes = [face.box.width for face in found]
    assert sizes == pytest.approx([0.37 * w for w in (540, 380, 260)], rel=0.15)
    # Another size next, then the first again: the detector keeps nothing of the frame before.
    assert len(finder.find(photographs["image_T1.jpg"])) == 1
    again = finder.find(crowd(photographs, widths))
    assert [face.box for face in again] == [face.box for face in found]


def test_nothing_is_found_in_nothing(finder):
    rng = np.random.default_rng(0)
    for frame in (
        np.zeros((720, 1280, 3), np.uint8),
        np.zeros((1, 1), np.uint8),
        np.full((3, 700), 255, np.uint8),
        rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
    ):
        assert finder.find(frame) == ()


def test_a_box_is_cut_to_the_frame(finder, photographs):
    image = photographs["image_T1.jpg"][:, 150:]
    (face,) = finder.find(image)
    assert face.box.x == 0
    face.box.require_inside(image.shape[1], image.shape[0])


def test_locate_fills_in_what_the_caller_did_not_say(finder, photographs):
    frame = crowd(photographs, (260, 540))
    capture = Capture(rgb=frame, ir=frame[..., 0].copy(), taken_ms={Modality.RGB: 5.0})
    located = finder.locate(capture)
    faces_found = finder.find(frame)
    assert located.face == faces_found[0].box
    assert located.other_faces == (faces_found[1].box,)
    assert (located.landmarks == faces_found[0].landmarks).all()
    assert located.rgb is frame
    assert located.taken_ms == {Modality.RGB: 5.0}
    assert located.faces == {}


def test_locate_leaves_the_caller_s_face_and_an_empty_scene_alone(finder, photographs):
    given = Capture(rgb=photographs["image_T1.jpg"], face=(1, 2, 30, 40))
    assert finder.locate(given) is given
    empty = Capture(rgb=np.zeros((120, 160, 3), np.uint8))
    assert finder.locate(empty) is empty


def test_locate_looks_in_infrared_where_there_is_no_color(finder, photographs):
    gray = cv2.cvtColor(photographs["image_T1.jpg"], cv2.COLOR_RGB2GRAY)
    (face,) = finder.find(gray)
    located = finder.locate(Capture(ir=gray))
    assert located.face == face.box
    assert located.faces == {}
    behind = finder.locate(Capture(ir=gray, depth=np.zeros((320, 240), np.uint16)))
    assert behind.face == face.box.scaled_to((480, 640), (240, 320))
    assert behind.face_in(Modality.IR) == face.box
    assert behind.landmarks == pytest.approx(face.landmarks / 2)
    assert (behind.landmarks_in(Modality.IR) == face.landmarks).all()


def test_depth_alone_shows_no_face(finder):
    with pytest.raises(CaptureError, match="no rgb and no ir frame"):
        finder.locate(Capture(depth=np.ones((48, 64), np.uint16)))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        "face.png",
    ],
)
def test_a_frame_that_is_no_picture_is_refused(finder, frame):
    with pytest.raises(CaptureError, match=r"found in uint8 \[H, W, 3\]"):
        finder.find(frame)


def test_threads_share_one_finder(finder, photographs):
    """Frames of four sizes at once: each gets its own answer."""
    frames = [cv2.resize(photographs["image_T1.jpg"], (w, w * 4 // 3)) for w in (90, 150, 200, 240)]
    alone = [finder.find(frame)[0].box for frame in frames]
    start = threading.Barrier(4)

    def work(number: int) -> list[FaceBox]:
        start.wait()
        return [finder.find(frames[number])[0].box for _ in range(8)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [[box] * 8 for box in alone]


def test_the_model_s_digest_is_held_to(model):
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert FaceFinder(model, sha256=digest.upper()).sha256 == digest
    with pytest.raises(
        FaceFinderError, match=rf"{model.name}: its SHA-256 is {digest}, expected 00"
    ):
        FaceFinder(str(model), sha256="00" * 32)


def test_an_older_opencv_reads_the_checked_bytes_from_a_copy(model, photographs, monkeypatch):
    expected = FaceFinder(model).find(photographs["image_T1.jpg"])[0].box
    monkeypatch.setattr(faces, "_BUFFERS_SINCE", (99, 0))
    assert FaceFinder(model).find(photographs["image_T1.jpg"])[0].box == expected


def test_opencv_s_log_level_is_as_before(finder, model):
    before = cv2.utils.logging.getLogLevel()
    FaceFinder(model)
    assert cv2.utils.logging.getLogLevel() == before


def test_a_file_cut_short_is_named(model, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:100_000])
    with pytest.raises(FaceFinderError, match=r"cut\.onnx: OpenCV .* cannot load it"):
        FaceFinder(cut)


@pytest.mark.parametrize("content", [b"", b"not a model" * 50])
def test_a_file_that_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(FaceFinderError, match=r"model\.onnx: OpenCV .* cannot load it: .* YuNet"):
        FaceFinder(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(FaceFinderError, match=f"{path.name}: cannot be read"):
            FaceFinder(path)
    assert issubclass(FaceFinderError, FasdkError)


def test_another_network_is_told_at_once(tmp_path):
    from onnx import TensorProto, helper

    def picture(name: str):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "h", "w"])

    graph = helper.make_graph(
        [helper.make_node("Relu", ["input"], ["output"])],
        "g",
        [picture("input")],
        [picture("output")],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "relu.onnx"
    path.write_bytes(network.SerializeToString())
    with pytest.raises(FaceFinderError, match=r"relu\.onnx: OpenCV .* failed on 64x64: .* YuNet"):
        FaceFinder(path)


def test_an_opencv_without_the_detector_is_said(tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "FaceDetectorYN")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(FaceFinderError, match=r"no FaceDetectorYN: install opencv-python 4\.8"):
        FaceFinder(path)


@pytest.mark.parametrize(
    "settings",
    [{"longest_side_px": 31}, {"min_score": 0.0}, {"min_score": 1.0}, {"max_overlap": 0.0}],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, settings):
    with pytest.raises(FaceFinderError, match=next(iter(settings))):
        FaceFinder(tmp_path / "none.onnx", **settings)


def test_a_row_that_is_no_face_is_dropped():
    row = np.float32([10, 20, 30, 40, *range(10), 0.9])
    back = np.array([2.0, 2.0])
    face = faces._face_of(row, back, (100, 100))
    assert face.box == FaceBox(20, 40, 60, 60)  # cut at the lower edge
    assert face.landmarks[4] == pytest.approx([16, 18])
    for column, value in ((0, np.nan), (14, np.inf), (0, 51.0), (1, -60.0), (2, 0.0)):
        bad = row.copy()
        bad[column] = value
        assert faces._face_of(bad, back, (100, 100)) is None


def test_a_person_before_the_camera_passes_the_quality_gates_and_a_small_one_does_not(
    finder, photographs
):
    def seen(frame):
        return finder.locate(Capture(rgb=frame, taken_ms={Modality.RGB: 0.0}))

    located = seen(photographs["image_T1.jpg"])
    assert assess(located, now_ms=0.0) == ()
    small = seen(crowd(photographs, (160,)))
    assert [finding.reason for finding in assess(small, now_ms=0.0)] == [Reason.TOO_FAR]
    crowded = seen(crowd(photographs, (540, 380)))
    assert [finding.reason for finding in assess(crowded, now_ms=0.0)] == [Reason.SEVERAL_FACES]
    nobody = seen(crowd(photographs, ()) + np.arange(3, dtype=np.uint8))
    assert Reason.NO_FACE in [finding.reason for finding in assess(nobody, now_ms=0.0)]
