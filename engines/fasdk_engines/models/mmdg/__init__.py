"""MMDG (CVPR 2024), published and deployed form."""
