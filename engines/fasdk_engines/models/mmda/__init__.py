"""MMDA (ECCV 2026), published and deployed form."""
