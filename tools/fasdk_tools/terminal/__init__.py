"""Terminal output: tables, progress and reports."""
