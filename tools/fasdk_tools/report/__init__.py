"""HTML pages: one file each that fetches nothing and runs no script.

Markup is in templates/, which share page.html, parts.html, sections.html, chart.html and style.css.
Read in this order: charts/ (geometry), environment.py, figures.py, parts.py; then evaluation.py
with cases.py, evidence.py and thumbnails.py.
"""
