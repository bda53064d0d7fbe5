"""Command-line package of fasdk: verbs, evaluation, tuning, protocols and reports."""
