"""Bundle reader written from docs/design/bundle-format.md alone: no fasdk, 150 lines at most."""

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/reference/manifest.schema.json").read_text())
NAME = re.compile(rb"[a-z0-9][a-z0-9._-]{0,99}(/[a-z0-9][a-z0-9._-]{0,99})?")
ORDER = ["manifest.json", "manifest.sig", "model.onnx", "plans/", "golden/"]
ORDER += ["calibration.json", "evaluation.json"]
CONTEXT = b"fasdk bundle signature, schema 2\n"
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
TYPES |= {"integer": int, "number": float}


class RefusedError(Exception):
    """The file is no valid bundle."""


def require(holds, why):
    if not holds:
        raise RefusedError(why)


def read_container(data):
    members, headers, at = {}, [], 0
    require(len(data) <= 0xFFFFFFFF and data[:4] == b"PK\x03\x04", "not a bundle")
    while data[at : at + 4] == b"PK\x03\x04":
        require(at + 30 <= len(data), "truncated")
        size, length = struct.unpack_from("<IH", data, at + 22)
        name, end = data[at + 30 : at + 30 + length], at + 30 + length + size
        require(end <= len(data), "truncated")
        require(NAME.fullmatch(name) and name.decode() not in members, "not a bundle: name")
        content, crc32 = data[end - size : end], zlib.crc32(data[end - size : end])
        common = struct.pack("<5HIII2H", 20, 0, 0, 0, 0x21, crc32, size, size, length, 0)
        require(data[at : at + 30] == b"PK\x03\x04" + common, "altered: local header or content")
        tail = struct.pack("<3HII", 0, 0, 0, 0x81A40000, at)
        headers.append(b"PK\x01\x02" + struct.pack("<H", 0x0314) + common + tail + name)
        members[name.decode()], at = content, end
    require(len(members) <= 4096, "not a bundle: too many members")
    directory, n = b"".join(headers), len(members)
    directory += b"PK\x05\x06" + struct.pack("<4HIIH", 0, 0, n, n, len(directory), at, 0)
    require(data[at:] == directory, "altered or truncated: directory")
    return members


def check_schema(value, schema, root, where="manifest"):
    if "$ref" in schema:
        check_schema(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, where)
    options = [holds(check_schema, value, option, root) for option in schema.get("anyOf", [])]
    require(any(options) or not options, where)
    require(type(value) is TYPES.get(schema.get("type"), type(value)), where)
    require(value in schema.get("enum", [schema.get("const", value)]), where)
    require(re.search(schema.get("pattern", ""), str(value)), where)
    if type(value) in (int, float):
        require(schema.get("minimum", value) <= value <= schema.get("maximum", value), where)
        require(value > schema.get("exclusiveMinimum", value - 1), where)
        require(value < schema.get("exclusiveMaximum", value + 1), where)
    if isinstance(value, list):
        least = schema.get("minItems", 0)
        require(least <= len(value) <= schema.get("maxItems", len(value)), where)
        fixed = schema.get("prefixItems", [])
        for item, inner in zip(value, fixed + [schema.get("items", {})] * len(value), strict=False):
            check_schema(item, inner or {}, root, where)
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        require(set(schema.get("required", [])) <= set(value), f"{where}: a field is missing")
        for key, item in value.items():
            require((inner := known.get(key, others)) is not False, f"{where}.{key} is unknown")
            require(inner is True or inner.get("default", root) != item, f"{where}.{key}: default")
            check_schema(key, schema.get("propertyNames", {}), root, f"{where}.{key}")
            check_schema(item, {} if inner is True else inner, root, f"{where}.{key}")


def parse_manifest(data, graph_digest):
    try:
        m = json.loads(data.decode())
        form = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
        written = json.dumps(m, allow_nan=False, **form).encode()
    except ValueError as error:
        raise RefusedError(f"not readable: {error}") from None
    check_schema(m, SCHEMA, SCHEMA)
    require(written == data, "not readable: not canonical")
    require(m["schema_version"] == 3 or "certainty" not in m, "rule 20")
    require(set(m["inputs"]) == set(m["modalities"]), "rule 2")
    lists = [m["modalities"], m["required"], m["labels"]]
    require(all(len(set(names)) == len(names) for names in lists), "rule 3")
    require({*m["required"]} <= {*lists[0]} and m["live_index"] < len(lists[2]), "rule 4 or 5")
    for name, entry in m["inputs"].items():
        depth, plain = entry["depth"], entry["ir_composite"] == "plain"
        require((depth is not None) == (name == "depth"), "rule 6")
        require(depth is None or depth["near_mm"] < depth["far_mm"], "rule 7")
        require(plain or (depth is None and entry["channel_order"] == "rgb"), "rule 8")
        planes = zip(entry["mean"], entry["std"], strict=True)
        largest = max((255 + abs(mean)) / (abs(std) or 1e-99) for mean, std in planes)
        require(max(largest, abs(entry["missing_value"])) < 3.4028235e38, "rule 9")
        aligns, pads = entry["crop"] == "landmarks", entry.get("crop_bounds") == "pad"
        face, fills = entry["crop"] == "face", aligns or pads or "fit" in entry
        useful = {"crop_shape": face, "crop_bounds": face, "fit": not aligns, "border": fills}
        useful |= {"interpolation": not aligns, "border_level": fills and "border" not in entry}
        require(all(useful.get(n, True) for n in entry), "rule 17")
        require(not aligns or entry["crop_scale"] == 1, "rule 17")
        points = {tuple(p) for p in entry.get("landmark_positions", []) if p}
        require(aligns == (len(points) > 1) == ("landmark_positions" in entry), "rule 18")
        require(plain or not (pads or aligns), "rule 19")
    seen, calibrated = [], {frozenset(c["modalities"]) for c in m["score_calibrations"]}
    for kind in ("operating_points", "score_calibrations", "sequential_tests"):
        for entry in m[kind]:
            held = frozenset(entry["modalities"])
            require(0 < len(entry["modalities"]) == len(held & set(m["modalities"])), "rule 10")
            seen.append((kind, entry.get("level"), held))
            require(entry["graph_sha256"] == graph_digest, "rule 12")
    require(len(set(seen)) == len(seen), "rule 11")
    points = {(p["level"], *p["modalities"]): p["calibrated"] for p in m["operating_points"]}
    require(all(c == (frozenset(k[1:]) in calibrated) for k, c in points.items()), "rule 13")
    require(all(points.get((t["level"], *t["modalities"])) for t in m["sequential_tests"]), "14")
    return m


def open_bundle(data, trusted=()):
    members = read_container(data)
    kinds = {n: re.sub(r"^(plans/).*\.plan$|^(golden/).*\.npz$", r"\1\2", n) for n in members}
    require(set(kinds.values()) <= set(ORDER), "not a bundle: a member of another name")
    require(next(iter(members)) == "manifest.json", "not a bundle: first member")
    manifest, signature = members["manifest.json"], members.get("manifest.sig", b"")
    require(len(manifest) <= 2**20 and len(signature) <= 2**16, "not a bundle: limit")
    valid = [holds(load_pem_public_key(p).verify, signature, CONTEXT + manifest) for p in trusted]
    require(any(valid) or not valid, "not trusted")
    require("model.onnx" in members, "not readable: no model.onnx")
    own = {n: hashlib.sha256(c).hexdigest() for n, c in members.items() if n not in ORDER[:2]}
    m = parse_manifest(manifest, own["model.onnx"])
    require(list(members) == sorted(members, key=lambda n: (ORDER.index(kinds[n]), n)), "order")
    require(own == m["members"], "altered: digest, or not readable: rule 15")
    require(m["sizes"] == {n: len(members[n]) for n in own}, "altered: size, or rule 15")
    plans = [n for n in members if n.startswith("plans/")]
    require(sorted(p["member"] for p in m["plans"]) == plans, "not readable: rule 16")
    return m, members


def holds(check, *arguments):
    try:
        return check(*arguments) is None or True
    except (InvalidSignature, RefusedError):
        return False
