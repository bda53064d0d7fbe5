"""Pin of a camera: which device it must be, and which detours of its frames are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from fasdk.bounded_file import FileKind
from fasdk.cameras.v4l2 import Detour, device_of
from fasdk.errors import ForeignCameraError, UsageError
from fasdk.json_model import read_json_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fasdk.cameras.options import SpecOptions
    from fasdk.cameras.v4l2 import V4l2Device

SCHEMA_VERSION: Final = 1
_DETOURS = f"names with commas between them, among {', '.join(each.value for each in Detour)}"


@dataclass(frozen=True)
class CameraPin:
    """What a camera must be; None leaves one open.

    Attributes:
        serial: Serial number that the device states.
        driver: Name of its kernel driver, such as uvcvideo.
        port: Where it is attached, such as usb-0000:00:14.0-2; for cameras without a number.
        firmware: Version of a RealSense camera's firmware.
        allow: Detours that its frames may take.
    """

    serial: str | None = None
    driver: str | None = None
    port: str | None = None
    firmware: str | None = None
    allow: frozenset[Detour] = frozenset()

    @property
    def names_device(self) -> bool:
        """Whether it says which device it must be."""
        return any((self.serial, self.driver, self.port, self.firmware))

    def admit(self, node: Path, name: str) -> V4l2Device | None:
        """Return what stands behind a device node, once it is what it must be.

        Args:
            node: Device node of the camera.
            name: Name of the camera, for errors.

        Returns:
            None where there is no Video4Linux device and nothing is asked of one.

        Raises:
            ForeignCameraError: It is another camera, or software that is not allowed.
        """
        found = device_of(node)
        if found is None:
            if self.names_device:
                raise ForeignCameraError(
                    f"{name}: {node} is no Video4Linux device that this user may ask, and "
                    f"{self._words()} was expected: plug that camera in, and see `ls -l {node}`"
                )
            return None
        self.require_allowed(found.detour, f"{name} is {found.describe()}")
        self.require({"serial": found.serial, "driver": found.driver, "port": found.port}, name)
        return found

    def require_same(self, before: V4l2Device | None, node: Path, name: str) -> None:
        """Check after an opening that a node leads where it led before.

        Raises:
            ForeignCameraError: It does not, or is not what it must be.
        """
        after = self.admit(node, name)
        if before != after:
            raise ForeignCameraError(
                f"{name} became another device while it was opened: "
                f"{'none' if after is None else after.describe()}; see who changes {node}"
            )

    def require_allowed(self, detour: Detour | None, what: str) -> None:
        """Check that a detour is allowed.

        Args:
            detour: The detour; None for none.
            what: The camera and what it is, in words.

        Raises:
            ForeignCameraError: It is not.
        """
        if detour is not None and detour not in self.allow:
            raise ForeignCameraError(
                f"{what}: software gives its frames, not a sensor here; name the real camera, or "
                f"write allow={detour.value} where this is meant"
            )

    def require(self, found: Mapping[str, str | None], name: str) -> None:
        """Check the properties that a device states.

        Args:
            found: Value of each property that this kind of camera has, by its name here.
            name: Name of the camera, for errors.

        Raises:
            ForeignCameraError: One is not what it must be.
        """
        for field, value in found.items():
            expected = getattr(self, field)
            if expected is not None and value != expected:
                states = "none" if value is None else repr(value)
                raise ForeignCameraError(
                    f"{name} is another camera: its {field} is {states}, expected {expected!r}; "
                    "plug that one in, or pin this one where it is meant"
                )

    def _words(self) -> str:
        names = ("serial", "driver", "port", "firmware")
        given = [(name, getattr(self, name)) for name in names]
        return ", ".join(f"{name} {value}" for name, value in given if value is not None)


class PinFile(BaseModel):
    """A pin as a file, which `pin=FILE` in a camera's address names.

    Attributes:
        schema_version: Version of this layout.
        serial: As in `CameraPin`.
        driver: As in `CameraPin`.
        port: As in `CameraPin`.
        firmware: As in `CameraPin`.
        allow: Names of the detours that are allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    serial: str | None = Field(default=None, min_length=1)
    driver: str | None = Field(default=None, min_length=1)
    port: str | None = Field(default=None, min_length=1)
    firmware: str | None = Field(default=None, min_length=1)
    allow: tuple[Detour, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> CameraPin:
        """Read a pin from its JSON file.

        Raises:
            UsageError: The file is unreadable or no JSON, or a field is absent, unknown or wrong.
        """
        read = read_json_model(path, cls, FileKind.PIN, UsageError)
        return CameraPin(read.serial, read.driver, read.port, read.firmware, frozenset(read.allow))


def take_pin(options: SpecOptions, *fields: str) -> CameraPin:
    """Return the pin that a specification's options make, or the file that they name.

    Args:
        options: Options of the specification.
        fields: Properties that can be pinned of this kind of camera.

    Raises:
        UsageError: A value is wrong, a file is given with other options, or it pins what this kind
            of camera does not state.
    """
    given = {field: options.take(field, _word, f"the camera's {field}") for field in fields}
    allow = options.take("allow", _detours, _DETOURS)
    file = options.take("pin", _word, "a JSON file")
    if file is None:
        return CameraPin(allow=allow or frozenset(), **given)
    if allow or any(given.values()):
        others = [name for name, value in {**given, "allow": allow}.items() if value]
        raise UsageError(
            f"camera {options.shown!r} has pin and {', '.join(others)}: write them into the file "
            "or into the address"
        )
    pin = PinFile.load(file)
    strange = [
        name
        for name in ("serial", "driver", "port", "firmware")
        if name not in fields and getattr(pin, name) is not None
    ]
    if strange:
        raise UsageError(
            f"{file}: {strange[0]}: a camera such as {options.shown!r} does not state it: leave it "
            f"out{', or pin ' + ', '.join(fields) if fields else ''}"
        )
    return pin


def require_network_allowed(pin: CameraPin, name: str) -> None:
    """Check that a pin allows a stream of the network.

    Args:
        pin: The pin.
        name: The stream without its secrets, for the error.

    Raises:
        UsageError: It does not.
    """
    if Detour.NETWORK not in pin.allow:
        raise UsageError(
            f"{name} is a stream of the network, where others can put in frames of their own: name "
            "a camera of this machine, or write allow=network where this is meant"
        )


def _word(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _detours(text: str) -> frozenset[Detour]:
    return frozenset(Detour(word) for word in text.split(","))
