"""What spans a camera's frames: the sequential test, the face it belongs to, and the lock-out.

`track` is one camera's state and `tracks` keeps one a camera, `policy` has its rules, `face_watch`
says when the face is another's, `lockout` shuts after repeated spoofs. The test itself is
`fasdk.sequential`, as bundles carry it.
"""
