"""Forms of checkpoints: each loads as its author's network, or is refused with a fix that works."""

from __future__ import annotations

import pytest

from support.checkpoint_forms import FORMS, Form, form_row


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_is_loaded_right_or_refused_with_a_fix_that_works(form: Form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = form_row(form, tmp_path)
    assert row.passed, f"{row.outcome}: {row.message}"
    assert not (tmp_path / "pwned").exists()
