"""HTML report of an evaluation: one file that fetches nothing and runs no script.

Read in this order: axes.py and charts.py (SVG), markup.py (tables and figures), thumbnails.py,
case_section.py (one list), overview.py, page.py (the page), style.css.
"""

from fasdk_tools.report.page import render, write_report

__all__ = ["render", "write_report"]
