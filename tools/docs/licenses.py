"""List of the licenses of a CycloneDX bill of materials: `make sbom`.

Prints a line a component, by name: version, license. Exits 1 where a component states none, which
a person then has to look up.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNSTATED = "not stated"
# Packages whose metadata states none; looked up in the license files of their repositories, or in
# the head of their own files.
_LOOKED_UP = {
    "mlcommons_loadgen": "Apache-2.0",
    "polygraphy": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
}


def licenses_of(component: Mapping[str, Any]) -> str:
    """Return what a component says about its license, as an SPDX id or expression where it can."""
    found = []
    for entry in component.get("licenses", ()):
        inner = entry.get("license", {})
        named = entry.get("expression") or inner.get("id") or inner.get("name")
        if named and named.splitlines()[0] not in found:
            found.append(named.splitlines()[0])
    return ", ".join(found) or _LOOKED_UP.get(str(component["name"]).lower(), UNSTATED)


def license_lines(document: Mapping[str, Any]) -> list[str]:
    """Return a line for every component, by name."""
    rows = sorted(
        (each["name"].lower(), each.get("version", ""), licenses_of(each))
        for each in document.get("components", ())
    )
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    return [f"{name:{widths[0]}}  {version:{widths[1]}}  {said}" for name, version, said in rows]


def main() -> int:
    """Print the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sbom", type=Path)
    lines = license_lines(json.loads(parser.parse_args().sbom.read_text("utf-8")))
    print("\n".join(lines))
    unstated = [line.split()[0] for line in lines if line.endswith(UNSTATED)]
    if unstated:
        print(f"no license stated: {', '.join(unstated)}", file=sys.stderr)
    return 1 if unstated or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
