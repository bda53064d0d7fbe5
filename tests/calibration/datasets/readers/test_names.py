"""Readers of data sets: labels, species and subjects in file names."""

from __future__ import annotations

import pytest

from fasdk.errors import DatasetError
from fasdk_calibration.datasets.readers import FrameFolderReader, Presentation, reader_of
from fasdk_calibration.datasets.readers.padisi import species_of


def presentation_of(folder: str) -> Presentation:
    reader = reader_of(f"{folder}/color/0012.jpg")
    assert issubclass(reader, FrameFolderReader)
    return reader.presentation_of(folder)


@pytest.mark.parametrize(
    ("folder", "domain", "species", "subject", "name"),
    [
        ("R_CDIT/001_01_000_0_00", "WMCA", "bona fide", "001", "001_01_000_0_00"),
        ("R_CDIT/514_01_004_1_05", "WMCA", "glasses", "514", "514_01_004_1_05"),
        ("R_CDIT/533_07_067_1_14", "WMCA", "rigid mask", "533", "533_07_067_1_14"),
        ("R_CDIT/001_01_000_2_12", "WMCA", "rigid mask", "001", "001_01_000_2_12"),
        ("R_CDIT/507_07_019_2_01", "WMCA", "fake head", "507", "507_07_019_2_01"),
        ("R_CDIT/001_01_000_2_08", "WMCA", "paper mask", "001", "001_01_000_2_08"),
        ("R_CDIT/530_07_067_2_18", "WMCA", "flexible mask", "530", "530_07_067_2_18"),
        ("R_CDIT/001_01_000_3_05", "WMCA", "replay", "001", "001_01_000_3_05"),
        ("R_CDIT/098_07_068_4_18", "WMCA", "replay", "098", "098_07_068_4_18"),
        ("AF/AF-300/1_300_1_1_1", "CeFA", "bona fide", "AF-300", "1_300_1_1_1"),
        ("CA/CA-199-19800625/2_199_3_2_2", "CeFA", "cloth print", "CA-199", "2_199_3_2_2"),
        ("EA/EA-012/3_012_1_1_3", "CeFA", "print", "EA-012", "3_012_1_1_3"),
        ("EA/EA-012/3_012_1_1_4", "CeFA", "replay", "EA-012", "3_012_1_1_4"),
        ("3D-Mask/073/1_073_1_0_2_1_2", "CeFA", "rigid mask", "3D-Mask-073", "1_073_1_0_2_1_2"),
        (
            "Silicone-Mask/008/2_008_1_1_2_1_4",
            "CeFA",
            "silicone mask",
            "Silicone-Mask-008",
            "2_008_1_1_2_1_4",
        ),
        (
            "Val/real_part/CLKJ_AS0005/real.rssdk",
            "CASIA-SURF",
            "bona fide",
            "CLKJ_AS0005",
            "CLKJ_AS0005/real",
        ),
        (
            "fake_part/fake_val_part/CLKJ_CS0117/06_enm_b.rssdk",
            "CASIA-SURF",
            "curved print without eyes nose and mouth",
            "CLKJ_CS0117",
            "CLKJ_CS0117/06_enm_b",
        ),
    ],
)
def test_a_videos_name_says_who_is_seen_and_with_what(folder, domain, species, subject, name):
    said = presentation_of(folder)
    assert (said.domain, said.species) == (domain, species)
    assert said.label.value == ("bona fide" if species == "bona fide" else "attack")
    assert (said.subject, said.name) == (f"{domain}/{subject}", f"{domain}/{name}")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("R_CDIT/001_01_000_0_03", "type and PAI 0_03"),
        ("R_CDIT/001_01_000_1_03", "type and PAI 1_03"),
        ("R_CDIT/001_01_000_4_19", "type and PAI 4_19"),
        ("R_CDIT/001_01_000_5_01", "type and PAI 5_01"),
        ("R_CDIT/1_01_000_0_00", "is no capture of a known data set"),
        ("AF/AF-300/1_300_1_1_5", "PAI 5, which CeFA does not define"),
        ("AF/AF-300/1_300_1_1_0", "PAI 0, which CeFA does not define"),
        ("AF/AF-300/2_300_1_1_1", "lies in the folder of AF-300"),
        ("AF/AF-300/1_301_1_1_1", "lies in the folder of AF-300"),
        ("3D-Mask/073/2_073_1_0_2_1_2", "lies in 3D-Mask/073"),
        ("Silicone-Mask/008/2_009_1_1_2_1_4", "lies in Silicone-Mask/008"),
        ("fake_part/CLKJ_AS0005/07_x_s.rssdk", "clip 07_x_s, which CASIA-SURF does not define"),
        ("fake_part/CLKJ_AS0005/real.rssdk", "clip real lies below fake_part"),
        ("real_part/real_val_part/CLKJ_AS0005/01_e_s.rssdk", "clip 01_e_s lies below real_part"),
        ("photographs/holiday", "is no capture of a known data set"),
        ("", "is no capture of a known data set"),
    ],
)
def test_a_name_or_code_that_no_data_set_defines_is_refused(folder, message):
    with pytest.raises(DatasetError, match=message):
        presentation_of(folder)


@pytest.mark.parametrize(
    ("code", "species"),
    [
        ("m00000", "bona fide"),
        ("m50112", "partial funny eyes"),
        ("m50201", "paper mask"),
        ("m50306", "mannequin"),
        ("m50401", "half mask"),
        ("m50507", "transparent mask"),
        ("m50604", "makeup"),
        ("m50701", "silicone mask"),
        ("m50802", "paper glasses"),
        ("m50901", "tattoo"),
    ],
)
def test_a_padisi_code_says_its_species(code, species):
    assert species_of(code) == species


@pytest.mark.parametrize("code", ["", "m00001", "m51001", "m50001", "m4010", "50101", "m5010x"])
def test_a_code_padisi_does_not_define_is_refused(code):
    with pytest.raises(DatasetError, match="is none of PADISI"):
        species_of(code)
