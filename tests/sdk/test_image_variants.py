"""Image files as they come: read right, or refused with a fix that works."""

from __future__ import annotations

import pytest

from support.image_variants import IMAGE_VARIANTS, ImageVariant, try_image


def test_there_are_at_least_sixty_variants_of_different_names():
    names = {(variant.name, variant.modality) for variant in IMAGE_VARIANTS}
    assert len(names) == len(IMAGE_VARIANTS) >= 60


@pytest.mark.parametrize("variant", IMAGE_VARIANTS, ids=lambda v: f"{v.modality.value} {v.name}")
def test_an_image_is_read_right_or_refused_with_a_fix_that_works(tmp_path, variant: ImageVariant):
    row = try_image(variant, tmp_path)
    assert row.passed, row.outcome
