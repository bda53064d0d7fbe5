"""Multi-frame verdicts of cameras: sequential test, face continuity and lock-out.

`track` is the state of one camera and `tracks` keeps one per camera; `policy` has the settings,
`face_watch` detects a change of face, `lockout` locks a camera after repeated spoofs. The
sequential test itself is `fasdk.sequential`, as bundles carry it.
"""
