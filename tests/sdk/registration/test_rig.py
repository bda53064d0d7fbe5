"""Registration of face boxes between sensors, or refusal."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fasdk.capture import Capture, FaceBox, Modality
from fasdk.errors import CaptureError, OutOfViewError, RigError
from fasdk.registration import Rig
from fasdk.registration.optics import Homography, Lens, Pinhole

RGB_LENS = Lens(
    width_px=1280,
    height_px=720,
    focal_x_px=910.0,
    focal_y_px=905.0,
    center_x_px=643.5,
    center_y_px=352.25,
    distortion=(0.12, -0.25, 0.001, -0.0007, 0.08),
)
DEPTH_LENS = Lens(
    width_px=640,
    height_px=480,
    focal_x_px=460.0,
    focal_y_px=461.0,
    center_x_px=318.0,
    center_y_px=243.0,
)
IR_LENS = DEPTH_LENS.model_copy(update={"distortion": (-0.2, 0.05, 0.0, 0.001)})
BACKGROUND_MM = 2400


def rows(matrix: np.ndarray) -> tuple:
    return tuple(map(tuple, np.asarray(matrix, float).tolist()))


def turn(x: float, y: float, z: float) -> np.ndarray:
    """Return a rotation by a vector in degrees."""
    return cv2.Rodrigues(np.radians([x, y, z]))[0]


DEPTH = Pinhole(lens=DEPTH_LENS, rotation=rows(turn(1, -2, 0.5)), translation_mm=(-55.0, 3.0, 2.0))
IR = Pinhole(lens=IR_LENS, rotation=rows(turn(-1, 3, -2)), translation_mm=(40.0, -12.0, -4.0))
RIG = Rig(rgb=RGB_LENS, depth=DEPTH, ir=IR)


def seen_by(points_mm: np.ndarray, sensor: Pinhole) -> np.ndarray:
    """Return pixels of points in the RGB camera's axes: OpenCV alone, from the parameters."""
    lens = sensor.lens
    matrix = np.array(
        [
            [lens.focal_x_px, 0, lens.center_x_px],
            [0, lens.focal_y_px, lens.center_y_px],
            [0, 0, 1],
        ]
    )
    rotation, _ = cv2.Rodrigues(np.array(sensor.rotation))
    shift, bent = np.array(sensor.translation_mm), np.array(lens.distortion or (0.0,) * 4)
    return cv2.projectPoints(points_mm, rotation, shift, matrix, bent)[0][:, 0]


def face_at(x: float, y: float, distance_mm: float, width_mm=150.0, height_mm=200.0):
    """Return the outline of a flat face parallel to the RGB frame, [400, 3] in millimeters."""
    along = np.linspace(-0.5, 0.5, 100)
    side = np.full(100, 0.5)
    outline = np.concatenate(
        [
            np.column_stack(pair)
            for pair in ((along, side), (along, -side), (side, along), (-side, along))
        ]
    )
    flat = outline * (width_mm, height_mm) + (x, y)
    return np.column_stack([flat, np.full(len(flat), distance_mm)])


def around(pixels: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom between pixels."""
    return (*(pixels.min(axis=0) + 0.5), *(pixels.max(axis=0) + 0.5))


def boxed(pixels: np.ndarray) -> FaceBox:
    left, top, right, bottom = (round(float(edge)) for edge in around(pixels))
    return FaceBox(left, top, right - left, bottom - top)


def edges(box: FaceBox) -> tuple[int, int, int, int]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def depth_of(face_mm: np.ndarray, sensor: Pinhole, *, hole: bool = False) -> np.ndarray:
    """Return what a depth sensor measures of a flat face before a wall, exactly."""
    lens = sensor.lens
    y, x = np.mgrid[0 : lens.height_px, 0 : lens.width_px].astype(np.float64)
    ray = np.stack(
        [
            (x - lens.center_x_px) / lens.focal_x_px,
            (y - lens.center_y_px) / lens.focal_y_px,
            np.ones_like(x),
        ],
        axis=-1,
    )
    rotation, shift = np.array(sensor.rotation), np.array(sensor.translation_mm)
    # Where the ray meets the face's plane, in the RGB camera's axes.
    origin, ahead = -shift @ rotation, ray @ rotation
    depth = (face_mm[0, 2] - origin[2]) / ahead[..., 2]
    hit = origin + ahead * depth[..., None]
    (low_x, low_y), (high_x, high_y) = face_mm[:, :2].min(axis=0), face_mm[:, :2].max(axis=0)
    inside = (hit[..., 0] >= low_x) & (hit[..., 0] <= high_x)
    inside &= (hit[..., 1] >= low_y) & (hit[..., 1] <= high_y)
    frame = np.where(inside, np.rint(depth), BACKGROUND_MM).astype(np.uint16)
    if hole:
        frame[inside & (np.arange(lens.width_px) % 2 == 0)] = 0
    return frame


def capture_of(face_mm: np.ndarray, rig: Rig = RIG, *, hole: bool = False, ir: bool = True):
    """Return a capture of a flat face, and where it is in each frame by OpenCV's own sums."""
    truth = {
        Modality.RGB: seen_by(face_mm, Pinhole(lens=rig.rgb)),
        Modality.DEPTH: seen_by(face_mm, rig.depth),
        Modality.IR: seen_by(face_mm, rig.ir),
    }
    capture = Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8),
        depth=depth_of(face_mm, rig.depth, hole=hole),
        ir=np.zeros((480, 640), np.uint8) if ir else None,
        face=boxed(truth[Modality.RGB]),
    )
    return capture, truth


@settings(max_examples=40)
@given(
    distance_mm=st.floats(400.0, 1400.0),
    across=st.floats(-0.2, 0.2),
    down=st.floats(-0.08, 0.08),
    width_mm=st.floats(110.0, 200.0),
    hole=st.booleans(),
)
def test_the_box_lands_where_opencv_projects_the_face(distance_mm, across, down, width_mm, hole):
    """The first guess of the distance is wrong by up to a third; depth puts it right."""
    face_mm = face_at(across * distance_mm, down * distance_mm, distance_mm, width_mm)
    capture, truth = capture_of(face_mm, hole=hole)
    found = RIG.register(capture)
    for modality in (Modality.DEPTH, Modality.IR):
        # A pixel for rounding the RGB box, one for the other's, one for what the lens bends.
        assert edges(found.faces[modality]) == pytest.approx(around(truth[modality]), abs=2.0)
    assert found.face is capture.face
    assert found.rgb is capture.rgb


def test_landmarks_land_where_opencv_projects_them():
    face_mm = face_at(60.0, 20.0, 700.0)
    capture, truth = capture_of(face_mm)
    chosen = [0, 3, 7, 11, 15]
    points = np.float32(truth[Modality.RGB][chosen])
    found = RIG.register(replace(capture, landmarks=points))
    assert found.landmarks is points
    for modality in (Modality.DEPTH, Modality.IR):
        assert found.landmarks_in(modality) == pytest.approx(truth[modality][chosen], abs=1.5)
    known = points + 1
    kept = RIG.register(replace(capture, landmarks=points, frame_landmarks={Modality.IR: known}))
    assert kept.landmarks_in(Modality.IR) is known
    assert RIG.register(capture).frame_landmarks == {}


def test_a_homography_maps_landmarks():
    points = np.float32([(300, 200), (380, 205), (340, 240), (310, 290), (370, 292)])
    capture = Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8),
        ir=np.zeros((480, 640), np.uint8),
        face=(280, 170, 120, 150),
        landmarks=points,
    )
    found = Rig(ir=PLANE).register(capture).landmarks_in(Modality.IR)
    expected = cv2.perspectiveTransform(points[None].astype(float), MATRIX)[0]
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_same_camera_twice_gives_the_same_box():
    rig = Rig(rgb=RGB_LENS, depth=Pinhole(lens=RGB_LENS), ir=Pinhole(lens=RGB_LENS))
    frame = np.full((720, 1280), 600, np.uint16)
    for box in (FaceBox(1, 2, 1270, 710), FaceBox(600, 300, 81, 97), FaceBox(10, 10, 1, 1)):
        capture = Capture(
            rgb=np.zeros((720, 1280, 3), np.uint8), depth=frame, ir=frame.astype(np.uint8), face=box
        )
        assert set(rig.register(capture).faces.values()) == {box}


def test_a_pinhole_without_distortion_is_a_formula():
    lens = RGB_LENS.model_copy(update={"distortion": ()})
    rig = Rig(rgb=lens, depth=Pinhole(lens=lens, translation_mm=(-50.0, 0.0, 0.0)))
    depth = np.full((720, 1280), 455, np.uint16)  # 910 / 455 mm: two pixels a millimeter
    capture = Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8), depth=depth, face=(500, 200, 300, 350)
    )
    assert rig.register(capture).faces == {Modality.DEPTH: FaceBox(400, 200, 300, 350)}


def test_the_distance_settles_where_the_depth_frame_agrees():
    """Depth grows a millimeter a pixel, so that where the box lands changes what is measured."""
    lens = RGB_LENS.model_copy(update={"distortion": ()})
    rig = Rig(rgb=lens, depth=Pinhole(lens=lens, translation_mm=(-100.0, 0.0, 0.0)))
    depth = np.broadcast_to(np.arange(1280, dtype=np.uint16) + 100, (720, 1280))
    capture = Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8), depth=depth, face=(600, 200, 100, 120)
    )
    found = rig.register(capture).faces[Modality.DEPTH]
    # The root of: distance = 100 mm + the column where the middle of the box lands.
    distances = np.linspace(400.0, 1000.0, 600_001)
    columns = 649.5 - lens.focal_x_px * 100.0 / distances
    distance_mm = distances[np.argmin(np.abs(distances - 100.0 - columns))]
    assert found.x == pytest.approx(600 - lens.focal_x_px * 100.0 / distance_mm, abs=1.0)
    assert found.width == 100


def test_without_depth_the_face_s_width_tells_the_distance():
    face_mm = face_at(30.0, -20.0, 620.0)
    capture, truth = capture_of(face_mm)
    alone = Capture(rgb=capture.rgb, ir=capture.ir, face=capture.face)
    assert edges(RIG.register(alone).faces[Modality.IR]) == pytest.approx(
        around(truth[Modality.IR]), abs=2.0
    )
    nothing = Capture(
        rgb=capture.rgb, ir=capture.ir, depth=np.zeros_like(capture.depth), face=capture.face
    )
    centimeters = Capture(
        rgb=capture.rgb, ir=capture.ir, depth=capture.depth // 13, face=capture.face
    )
    for unknown in (nothing, centimeters):
        assert RIG.register(unknown).faces[Modality.IR] == RIG.register(alone).faces[Modality.IR]


def test_depth_that_shows_the_rgb_view_tells_the_distance_for_infrared():
    """As where the camera's own software aligns depth to color, at another resolution."""
    rig = RIG.model_copy(update={"depth": None})
    face_mm = face_at(30.0, -20.0, 450.0, width_mm=110.0)
    capture, truth = capture_of(face_mm)
    aligned = Capture(
        rgb=capture.rgb, ir=capture.ir, depth=np.full((360, 640), 450, np.uint16), face=capture.face
    )
    found = rig.register(aligned)
    assert set(found.faces) == {Modality.IR}
    assert edges(found.faces[Modality.IR]) == pytest.approx(around(truth[Modality.IR]), abs=2.0)


def test_boxes_the_caller_knows_are_kept_and_their_depth_is_used():
    face_mm = face_at(0.0, 0.0, 500.0, width_mm=120.0)
    capture, truth = capture_of(face_mm)
    known = boxed(truth[Modality.DEPTH])
    found = RIG.register(
        Capture(
            rgb=capture.rgb,
            depth=capture.depth,
            ir=capture.ir,
            face=capture.face,
            faces={Modality.DEPTH: known},
        )
    )
    assert found.faces[Modality.DEPTH] is known
    assert edges(found.faces[Modality.IR]) == pytest.approx(around(truth[Modality.IR]), abs=2.0)


def test_a_face_found_by_the_depth_sensor_is_mapped_to_infrared():
    face_mm = face_at(10.0, 10.0, 550.0)
    capture, truth = capture_of(face_mm)
    blind = Capture(depth=capture.depth, ir=capture.ir, face=boxed(truth[Modality.DEPTH]))
    found = RIG.register(blind)
    assert set(found.faces) == {Modality.IR}
    # The face is parallel to the RGB frame and not to these, so its corners are at other depths.
    assert edges(found.faces[Modality.IR]) == pytest.approx(around(truth[Modality.IR]), abs=4.0)


def test_sensors_with_one_lens_share_the_box():
    rig = RIG.model_copy(update={"ir": DEPTH})
    capture = Capture(
        depth=np.full((480, 640), 500, np.uint16),
        ir=np.zeros((480, 640), np.uint8),
        face=(200, 100, 150, 200),
    )
    assert rig.register(capture) is capture
    assert capture.face_in(Modality.IR) == capture.face


def test_nothing_to_do_leaves_the_capture_as_it_is():
    rgb = np.zeros((720, 1280, 3), np.uint8)
    for capture in (Capture(rgb=rgb), Capture(rgb=rgb, face=(10, 10, 90, 90))):
        assert RIG.register(capture) is capture
    same_view = Capture(rgb=rgb, depth=np.zeros((360, 640), np.uint16), face=(10, 10, 90, 90))
    assert Rig().register(same_view) is same_view


MATRIX = np.array([[0.52, 0.02, -18.0], [-0.01, 0.6, 22.0], [2e-5, -1e-5, 1.0]])
PLANE = Homography(
    width_px=640, height_px=480, rgb_width_px=1280, rgb_height_px=720, from_rgb=rows(MATRIX)
)


@given(st.integers(60, 900), st.integers(20, 400), st.integers(8, 300), st.integers(8, 300))
def test_a_homography_maps_the_box_s_corners(x, y, width, height):
    capture = Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8),
        depth=np.zeros((480, 640), np.uint16),
        ir=np.zeros((480, 640), np.uint8),
        face=(x, y, width, height),
    )
    found = Rig(depth=PLANE, ir=PLANE).register(capture).faces
    corners = np.array([[[x, y], [x + width, y], [x, y + height], [x + width, y + height]]]) - 0.5
    expected = boxed(cv2.perspectiveTransform(corners.astype(float), MATRIX)[0])
    assert found == {Modality.DEPTH: expected, Modality.IR: expected}


def test_the_sign_of_a_homography_does_not_matter():
    capture = Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8),
        ir=np.zeros((480, 640), np.uint8),
        face=(300, 200, 90, 120),
    )
    other = PLANE.model_copy(update={"from_rgb": rows(-MATRIX)})
    assert Rig(ir=other).register(capture).faces == Rig(ir=PLANE).register(capture).faces


def test_homographies_combine_where_the_face_is_in_the_depth_frame():
    shifted = np.array([[1.0, 0.0, 30.0], [0.0, 1.0, -10.0], [0.0, 0.0, 1.0]])
    ir = PLANE.model_copy(update={"from_rgb": rows(shifted @ MATRIX)})
    capture = Capture(
        depth=np.zeros((480, 640), np.uint16),
        ir=np.zeros((480, 640), np.uint8),
        face=(100, 100, 80, 90),
    )
    found = Rig(depth=PLANE, ir=ir).register(capture)
    assert found.faces == {Modality.IR: FaceBox(130, 90, 80, 90)}


def shifted(x_mm: float) -> tuple[Rig, Capture]:
    """Return a face 300 px wide in RGB and so far to the side in depth, two pixels a millimeter."""
    lens = RGB_LENS.model_copy(update={"distortion": ()})
    rig = Rig(rgb=lens, depth=Pinhole(lens=lens, translation_mm=(x_mm, 0.0, 0.0)))
    return rig, Capture(
        rgb=np.zeros((720, 1280, 3), np.uint8),
        depth=np.full((720, 1280), 455, np.uint16),
        face=(500, 200, 300, 350),
    )


def test_a_box_that_is_partly_outside_is_clipped_down_to_half_of_it():
    rig, capture = shifted(-300.0)
    assert rig.register(capture).faces == {Modality.DEPTH: FaceBox(0, 200, 200, 350)}
    rig, capture = shifted(-325.0)
    assert rig.register(capture).faces == {Modality.DEPTH: FaceBox(0, 200, 150, 350)}


@pytest.mark.parametrize("x_mm", [-326.0, -400.0, -5000.0, 316.0, 900.0])
def test_a_face_of_which_a_sensor_sees_less_than_half_is_out_of_its_view(x_mm):
    rig, capture = shifted(x_mm)
    with pytest.raises(OutOfViewError, match=r"of the face lies in the depth sensor's 1280x720"):
        rig.register(capture)
    assert issubclass(OutOfViewError, CaptureError)


def test_a_face_behind_a_sensor_is_out_of_its_view():
    behind = Pinhole(lens=DEPTH_LENS, translation_mm=(0.0, 0.0, -2000.0))
    capture, _ = capture_of(face_at(0.0, 0.0, 500.0))
    with pytest.raises(OutOfViewError, match="behind the depth sensor"):
        Rig(rgb=RGB_LENS, depth=behind).register(capture)
    horizon = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1 / 600, 0.0, 1.0]])
    plane = PLANE.model_copy(update={"from_rgb": rows(horizon)})
    with pytest.raises(OutOfViewError, match="behind the depth sensor"):
        Rig(depth=plane).register(capture)


@pytest.mark.parametrize(
    ("rig", "frames", "words"),
    [
        (
            RIG,
            {"rgb": (480, 640, 3), "ir": (480, 640)},
            "rgb frame is 640x480, the rig .* 1280x720",
        ),
        (
            RIG,
            {"rgb": (720, 1280, 3), "ir": (360, 640)},
            "ir frame is 640x360, .* 640x480: set the",
        ),
        (Rig(ir=PLANE), {"rgb": (480, 640, 3), "ir": (480, 640)}, "rgb frame is 640x480"),
        (Rig(rgb=RGB_LENS, depth=DEPTH), {"depth": (480, 640), "ir": (480, 640)}, "not say how ir"),
        (
            Rig(rgb=RGB_LENS, depth=DEPTH, ir=PLANE),
            {"depth": (480, 640), "ir": (480, 640)},
            "both as pinhole cameras",
        ),
    ],
)
def test_frames_the_rig_says_nothing_of_are_refused(rig, frames, words):
    made = {
        name: np.ones(shape, np.uint16 if name == "depth" else np.uint8)
        for name, shape in frames.items()
    }
    with pytest.raises(RigError, match=words):
        rig.register(Capture(**made, face=(100, 100, 90, 90)))


def test_a_distortion_without_an_inverse_is_refused():
    wild = RGB_LENS.model_copy(update={"distortion": (-9.0, 0.0, 0.0, 0.0)})
    capture, _ = capture_of(face_at(100.0, 50.0, 400.0))
    with pytest.raises(RigError, match="cannot be undone"):
        Rig(rgb=wild, depth=DEPTH).register(capture)


@pytest.mark.parametrize("terms", [4, 5, 8, 12, 14])
def test_rays_undo_every_model_of_distortion(terms):
    amounts = np.array(
        [0.1, -0.2, 1e-3, -8e-4, 0.05, 0.02, 0.01, 0.003, 1e-3, 2e-4, -5e-4, 1e-4, 0.01, -0.008]
    )
    lens = RGB_LENS.model_copy(update={"distortion": tuple(amounts[:terms].tolist())})
    pixels = np.stack(np.meshgrid(np.linspace(0, 1279, 9), np.linspace(0, 719, 7)), -1).reshape(
        -1, 2
    )
    rays = lens.rays(pixels)
    assert (rays[:, 2] == 1.0).all()
    assert np.abs(lens.project(rays * 777.0) - pixels).max() < 1e-3


def test_a_rig_survives_its_file(tmp_path):
    path = tmp_path / "rig.json"
    path.write_text(Rig(rgb=RGB_LENS, depth=DEPTH, ir=PLANE).model_dump_json())
    assert Rig.load(path) == Rig(rgb=RGB_LENS, depth=DEPTH, ir=PLANE)
    path.write_text("{}")
    assert Rig.load(str(path)) == Rig()


WHOLE = json.loads(RIG.model_dump_json())


def without(*path: str) -> dict:
    document = json.loads(json.dumps(WHOLE))
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return document


def having(value: object, *path: str) -> dict:
    document = json.loads(json.dumps(WHOLE))
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            without("depth", "lens", "focal_x_px"),
            r"rig.json: depth\.lens\.focal_x_px: Field required",
        ),
        (having(0, "rgb", "width_px"), r"rig.json: rgb\.width_px: "),
        (having(3, "depth", "baseline"), r"rig.json: depth\.baseline: Extra inputs"),
        (having("fisheye", "ir", "kind"), "rig.json: ir: .*'pinhole'"),
        (without("ir", "kind"), "rig.json: ir: "),
        (having([0.1, 0.2], "rgb", "distortion"), r"rgb: .*distortion has 2 numbers"),
        (
            having([[1, 0, 0], [0, 1, 0], [0, 0, 2]], "depth", "rotation"),
            "depth: .*rotation is none",
        ),
        (having([[1, 0, 0], [0, 1, 0], [0, 0, -1]], "depth", "rotation"), "depth: .*mirrors"),
        (having([1, 2], "ir", "translation_mm"), r"ir\.translation_mm"),
        (having(2, "schema_version"), "rig.json: schema_version: "),
        (without("rgb"), "rig.json: rig: .*depth is a pinhole camera, so rgb"),
        ([], "rig.json: rig: "),
    ],
)
def test_a_bad_file_is_named_with_the_field(tmp_path, document, words):
    path = tmp_path / "rig.json"
    path.write_text(json.dumps(document))
    with pytest.raises(RigError, match=words):
        Rig.load(path)


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "Invalid JSON"), (b"\xff\xfe", "rig: "), (b"", "rig: ")]
)
def test_rig_file_that_is_not_json_is_refused(tmp_path, content, words):
    path = tmp_path / "rig.json"
    path.write_bytes(content)
    with pytest.raises(RigError, match=f"rig.json: .*{words}"):
        Rig.load(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RigError, match="cannot be read"):
            Rig.load(path)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValidationError):
        RGB_LENS.model_validate({**RGB_LENS.model_dump(), "center_x_px": math.nan})
    with pytest.raises(ValidationError, match="no inverse"):
        Homography(**{**PLANE.model_dump(), "from_rgb": rows(np.ones((3, 3)))})
