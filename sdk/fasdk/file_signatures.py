"""First bytes of file formats, by which readers tell what a file is whatever its name says."""

from __future__ import annotations

from typing import Final


class FirstBytes:
    """What a file of a format begins with.

    Attributes:
        PICKLES: Pickles of protocols 4 and 5, which Python writes by default.
        EXCEL: Compound file of the workbooks before .xlsx.
    """

    GZIP: Final = b"\x1f\x8b"
    BZIP2: Final = b"BZh"
    XZ: Final = b"\xfd7zXZ\x00"
    ZSTD: Final = b"\x28\xb5\x2f\xfd"
    ZIP: Final = b"PK\x03\x04"
    EMPTY_ZIP: Final = b"PK\x05\x06"
    PNG: Final = b"\x89PNG\r\n\x1a\n"
    JPEG: Final = b"\xff\xd8\xff"
    TIFF: Final = (b"II*\0", b"MM\0*")
    PDF: Final = b"%PDF"
    EXCEL: Final = b"\xd0\xcf\x11\xe0"
    PARQUET: Final = b"PAR1"
    NPY: Final = b"\x93NUMPY"
    HDF5: Final = b"\x89HDF"
    PICKLES: Final = (b"\x80\x04", b"\x80\x05")
    GIT_LFS: Final = b"version https://git-lfs"
