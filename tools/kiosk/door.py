"""Door example: BUNDLE KEY CAMERA FACE_MODEL, as in lobby.fasb release.pub realsense yunet.onnx."""

import sys

import fasdk
from fasdk.cameras import open_camera
from fasdk.capture_loop import run_captures
from fasdk.watchdog import Watchdog

bundle, key, source, face_model = sys.argv[1:]
trust, limits = fasdk.TrustPolicy.from_files(key), fasdk.QualityLimits()
finder, watchdog = fasdk.FaceFinder(face_model), Watchdog.from_environment()
with fasdk.open(bundle, trust=trust, limits=limits) as lobby, open_camera(source) as camera:
    for result in run_captures(camera, lobby.track("lobby"), finder):
        watchdog.notify_decision(result.decision)
        if result.decision.is_live:
            print("open the door", flush=True)
        elif result.decision.codes:
            print("show", result.decision.codes[0].value, flush=True)
