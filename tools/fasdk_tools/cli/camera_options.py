"""Options of the verbs that read a camera: which one, and where the face is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fasdk.errors import UsageError
from fasdk_tools.cli.root import parse_face

if TYPE_CHECKING:
    from fasdk.capture_loop import FaceLocator

CAMERA_HELP = (
    "replay:DIR, replay:LIST.jsonl, opencv:NUMBER, opencv:/dev/NODE, opencv:FILE, "
    "opencv:rtsp://ADDRESS, opencv:http://ADDRESS, opencv:PIPELINE, opencv:PIPE, "
    "csi:NUMBER, gst:PIPELINE, realsense, realsense:SERIAL, realsense:FILE.bag or "
    "pair:rgb=SPEC;ir=SPEC; options follow a ?, as in opencv:0?width=1280&height=720, and "
    "quotes go around a SPEC that has some, or an address."
)
CameraOption = Annotated[str, typer.Option(metavar="SPEC", help=CAMERA_HELP)]
FaceOption = Annotated[
    str | None, typer.Option(help="Fixed face box x,y,w,h in pixels of the first frame.")
]
FaceModelOption = Annotated[Path | None, typer.Option(help="YuNet ONNX file for face detection.")]
RigOption = Annotated[
    Path | None,
    typer.Option(help="JSON file with the geometry of the depth and infrared cameras."),
]


def face_locator(face: str | None, face_model: Path | None) -> FaceLocator | None:
    """Return what finds the face, by --face and --face-model; None where neither was given.

    Raises:
        UsageError: Both were given.
        CaptureError: --face is no box.
        FaceFinderError: The model cannot be read.
    """
    from fasdk.capture_loop import FixedFace

    if face is not None and face_model is not None:
        raise UsageError("--face and --face-model both give the face: give one")
    if face is not None:
        return FixedFace(parse_face(face))
    if face_model is not None:
        from fasdk.faces import FaceFinder

        return FaceFinder(face_model)
    return None
