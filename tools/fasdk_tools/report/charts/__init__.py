"""Charts of all HTML pages: geometry here, markup in templates/chart.html.

Read in this order: axes.py (scales), drawing.py (shapes and the frame between two axes),
error_rates.py (evaluation), latency.py (profile).
"""
