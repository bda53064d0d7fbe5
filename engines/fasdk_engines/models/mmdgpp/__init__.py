"""MMDG++ (TPAMI 2025), published and deployed form."""
