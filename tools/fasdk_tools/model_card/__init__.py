"""Model card of a bundle: what it and its records hold, as one page, as Markdown, as JSON.

Read in this order: records.py (files given beside a bundle), document.py (the JSON document),
sections.py (what is said of it, in parts that both forms draw), markdown.py, page.py.
"""
