"""Lists in the forms that people write: read right, or refused with a fix that works."""

from __future__ import annotations

import pytest

from support.list_variants import LIST_VARIANTS, ListVariant, try_variant


def test_there_are_at_least_sixty_variants_of_different_names():
    assert len({variant.name for variant in LIST_VARIANTS}) == len(LIST_VARIANTS) >= 60


@pytest.mark.parametrize("variant", LIST_VARIANTS, ids=lambda variant: variant.name)
def test_a_list_is_read_right_or_refused_with_a_fix_that_works(tmp_path, variant: ListVariant):
    row = try_variant(variant, tmp_path / "data")
    assert row.passed, row.outcome
