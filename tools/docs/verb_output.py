"""Generator of docs/reference/output, every verb's output: `make reference-output`.

Each file holds commands run in one folder after `fasdk demo`, with what a terminal of 80 columns
shows. Clock times, durations, rates, digests and versions are masked (see `mask`), so that a file
changes only when the output or a figure of the demo does.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from torch import Tensor

from fasdk.bundle.bundle import open_bundle, write_bundle
from fasdk.bundle.signing import generate_key, open_signer
from fasdk.home import HOME_VARIABLE
from fasdk_engines.models.clip import ClipText, ClipVision
from fasdk_tools import cli
from fasdk_tools.terminal.tables import wrap

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "output"
WIDTH = 80
DEMO, BUNDLE = ".demo", ".demo/demo.fasb"
PEOPLE = ".demo/captures/people.jsonl"  # the genuine people of the held-out captures
HELD_OUT, DEVELOPMENT = ".demo/captures/held-out.jsonl", ".demo/development/development.jsonl"


@dataclass(frozen=True)
class Example:
    """One command of a transcript.

    Attributes:
        verb: Name of the verb, words separated by spaces.
        arguments: Arguments after the verb.
        statuses: Exit statuses it may end with.
    """

    verb: str
    arguments: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (0,)

    @property
    def words(self) -> tuple[str, ...]:
        """The command line after `fasdk`."""
        return (*self.verb.split(), *self.arguments)


_FRAMES = ".demo/captures/held-out/000000"
FACE = "X,Y,WIDTH,HEIGHT"  # of those frames, as the list says
CAPTURE = (
    *(
        "--rgb",
        f"{_FRAMES}.rgb.png",
        "--depth",
        f"{_FRAMES}.depth.png",
        "--ir",
        f"{_FRAMES}.ir.png",
    ),
    *("--face", FACE),
)

# In this order: a command may read what one before it wrote.
EXAMPLES = (
    Example("demo"),
    Example("models"),
    Example("inspect", (BUNDLE,)),
    Example("verify", (BUNDLE,)),
    Example("build-plan", (BUNDLE, "--backend", "onnxruntime")),
    Example("check", (BUNDLE, *CAPTURE, "--backend", "onnxruntime"), statuses=(0, 1)),
    Example("profile", (BUNDLE, "--backend", "onnxruntime", "--seconds", "1")),
    Example(
        "soak",
        (
            *(BUNDLE, "--minutes", "0.2", "--backend", "onnxruntime"),
            *("--max-drift", "1", "--deadline-ms", "3000"),
        ),
        statuses=(0, 1),
    ),
    Example("plan-latency", (BUNDLE, "--device", "orin-nano-super")),
    Example("debug-parity", (".demo/checkpoint.safetensors", "--model", "mmdg")),
    Example(
        "run",
        (
            *(BUNDLE, "--camera", f"replay:{HELD_OUT}", "--each-frame", "--max-captures", "8"),
            *("--backend", "onnxruntime"),
        ),
    ),
    Example("serve", (BUNDLE, "--socket", "door.sock", "--dry-run", "--backend", "onnxruntime")),
    Example(
        "run",
        (
            *(BUNDLE, "--camera", f"replay:{HELD_OUT}", "--each-frame", "--max-captures", "2"),
            *("--backend", "onnxruntime", "--audit", "door.audit"),
        ),
    ),
    Example("audit verify", ("door.audit",)),
    Example("attempts"),
    Example("doctor", (BUNDLE, "--backend", "onnxruntime"), statuses=(0, 1)),
    Example("evaluate", (BUNDLE, "--protocol", HELD_OUT)),
    Example("report", (BUNDLE, "--markdown", "demo.md")),
    Example(
        "tune",
        (BUNDLE, "-o", "tuned.fasb", "--protocol", DEVELOPMENT, "--level", "strict"),
        statuses=(1,),
    ),
    Example(
        "tune",
        (BUNDLE, "-o", "tuned.fasb", "--protocol", DEVELOPMENT, "--level", "lobby=0.5"),
    ),
    Example("metrics", ("scores.csv",)),
    Example(
        "commission",
        (
            *(BUNDLE, "--camera", f"replay:{PEOPLE}", "-o", "site.json"),
            *("--people", "2", "--presentations", "5", "--captures", "1"),
            *("--backend", "onnxruntime"),
        ),
        statuses=(1,),
    ),
    Example(
        "record",
        (
            *("--camera", f"replay:{HELD_OUT}", "--label", "live", "--subject", "017"),
            *("--consent", "synthetic captures, of nobody", "-o", "lobby"),
            *("--frames", "1", "--every", "1"),
        ),
    ),
    Example("dataset check", (DEVELOPMENT,)),
    Example("dataset unpack", ("wmca", "packed", "-o", "wmca")),
    Example("dataset convert", (DEVELOPMENT, "-o", "development.csv")),
    Example("dataset split", (DEVELOPMENT, "-o", "parts")),
    Example("dataset crop", ("development.csv", "-o", "crops")),
    Example("synth", ("captures", "--captures", "60", "--size", "160x120")),
    Example("describe", ("net.onnx", "--reference", DEVELOPMENT), statuses=(0, 1)),
    Example("keygen", ("key.pem",)),
    Example("trust add", ("key.pem.pub", "--expires", "2999-12-31")),
    Example("trust list"),
    Example("trust revoke", ("key.pem.pub",)),
    Example("accept", ("release.fasb", "--key", "release.pem.pub")),
    Example(
        "build-engine",
        (
            *(".demo/checkpoint.safetensors", "-o", "mmdg.fasb", "--model", "mmdg"),
            *("--precision", "fp16", "--backend", "onnxruntime"),
        ),
    ),
    Example(
        "train",
        (
            *("captures/train.jsonl", "-o", "own.safetensors", "--model", "mmdg"),
            *("--config", "tiny", "--epochs", "2", "--development", "captures/development.jsonl"),
        ),
    ),
    Example("convert-clip", ("ViT-B-16.pt",)),
    Example(
        "protocols",
        (
            *("--tables", "P3", "--seeds", "1", "--captures", "12", "--test-captures", "12"),
            *("--epochs", "1", "--system", "baseline", "--system", "regrad"),
        ),
    ),
)

_MASKS: tuple[tuple[str, str], ...] = (
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "YYYY-MM-DDTHH:MM:SS.mmmZ"),
    (r"\b\d\d:\d\d:\d\d\.\d{3}\b", "HH:MM:SS.mmm"),
    (r"\b\d[\d.]* (ms|s|captures/s|captures a second)\b", r"N \1"),
    (r"\b\d[\d,]* calls\b", "N calls"),
    (r"\bkey [0-9a-f]{8}\b", "key xxxxxxxx"),
    (r"\b[0-9a-f]{8}(?=-\d{5}\b)", "xxxxxxxx"),  # of a recording
    (
        r"\b(onnxruntime|fasdk|numpy|onnx|onnxscript|torch|polygraphy|tensorrt[a-z_-]*) \d[\w.+]*",
        r"\1 X.Y",
    ),
    (r"\b\d\.\d+e-\d\d\b|\b\d+e-\d\d\b", "Ne-NN"),
    # A slow machine makes fewer calls in a second than a percentile needs.
    (r"99th percentile after \d[\d,]* more calls?", "N ms 99th percentile"),
    # How long the demo's steps took.
    (r"(?m)^(  seconds +).*(?:\n {8,}\S.*)*", r"\1by step"),
    # What `profile` and `inspect` say of the machine they ran on.
    (
        r"(?m)^(  (?:measurement|energy|steady|frames on a GPU) +).*(?:\n {8,}\S.*)*",
        r"\1what the machine showed",
    ),
)

# Lines of `soak` whose every figure depends on the machine.
_SOAK_COUNTS = re.compile(
    r"^(Passed|Failed): .*|^  (answers|engine calls made to fail|held up by a fault|longest answer|"
    r"swaps|memory|memory growth|threads|descriptors)  .*",
    re.MULTILINE,
)

# A line of `doctor`, and what in it is of the machine it ran on.
_DOCTOR_LINE = re.compile(
    r"^  \S+(?: \S+)*(?: {2,}|\n {4})(?:OK|WARN|FAIL|n/a) .*(?:\n {3,}\S.*)*", re.MULTILINE
)
_DOCTOR_MASKS: tuple[tuple[str, str], ...] = (
    (r"(?<![\w`.])/[\w.+/-]*\w", "PATH"),
    (r"\b\d{4}-\d\d-\d\d\b", "YYYY-MM-DD"),
    (r"\b\d\d:\d\d\b", "HH:MM"),
    (r"\b\d[\d.]* GB\b", "N GB"),
    (r"\b\d+\.\d[\w.+]*", "X.Y"),
    (r"\b\d+ processors?\b", "N processors"),
)


def mask(text: str) -> str:
    """Return output with what differs between machines and runs replaced.

    Clock times become HH:MM:SS.mmm, with a date YYYY-MM-DDTHH:MM:SS.mmmZ; digits of a digest x;
    durations, rates and counts of calls N; versions of packages X.Y; numbers in exponential
    notation, all of them rounding errors, Ne-NN; the latencies in a table of `profile`, or how many
    calls one lacks, and the counts of `soak` N; paths, days and releases in a line of `doctor`
    PATH, YYYY-MM-DD and X.Y.
    """
    text = text.replace(f"{Path.cwd()}/", "")
    text = re.sub(r"\b[0-9a-f]{12,64}\b", lambda found: "x" * len(found[0]), text)
    for pattern, replacement in _MASKS:
        text = re.sub(pattern, replacement, text)
    text = re.sub(_DOCTOR_LINE, _mask_doctor, text)
    text = "\n".join(_mask_latencies(text.splitlines())).rstrip() + "\n"
    return re.sub(_SOAK_COUNTS, lambda found: re.sub(r"-?\d[\d.,]*\d|\d", "N", found[0]), text)


def _mask_doctor(line: re.Match[str]) -> str:
    text = line[0]
    for pattern, replacement in _DOCTOR_MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def _mask_latencies(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        inside = (inside and bool(line.strip())) or "latency in ms" in line
        masked = (
            re.sub(
                r" \d+\.\d{3}\b|\+\d[\d,]*",
                lambda found: "N.NNN".rjust(len(found[0])),
                line,
            )
            if inside
            else line
        )
        yield masked.rstrip()


def shape(text: str) -> list[str]:
    """Return the field names, titles and column headers of an output, without any figure."""
    found: list[str] = []
    in_command = in_fields = False
    lines = text.splitlines()
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith("$") or (in_command and line.startswith("      ")):
            in_command = True
            continue
        if below.strip().startswith("─"):
            # Where a column is narrow its header takes two lines.
            wrapped = above if above.startswith("  ") else ""
            found.append(" ".join(sorted(f"{wrapped} {line}".split())))
        elif line and not above and not line.startswith(" "):
            found.append(re.sub(r"\d[\d.,]*", "N", line))
        elif in_fields and (name := re.match(r"  (\S+(?: \S+)*)(?:  |$)", line)):
            found.append(name[1])
        # The answer follows the command; its fields end with a blank line or a message.
        in_fields = (in_fields or in_command) and bool(line) and not line.startswith("fasdk: ")
        in_command = False
    return found


@contextmanager
def working_folder(folder: Path, width: int) -> Iterator[None]:
    """Run commands in a folder and at a width of the terminal while the block runs."""
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    os.chdir(folder)
    os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        os.chdir(before)
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _face() -> str:
    """Return the face box of the first held-out capture, as `--face` takes it."""
    with Path(HELD_OUT).open() as lines:
        return ",".join(str(number) for number in json.loads(next(lines))["face"])


def output_of(words: Sequence[str], statuses: tuple[int, ...], width: int) -> str:
    """Return what a terminal shows of a command: stdout, then the messages of stderr.

    Progress bars are left out. A message is one line for programs; it is wrapped here.

    Args:
        words: Words of the command after `fasdk`.
        statuses: Exit statuses it may end with.
        width: Columns of the terminal.

    Raises:
        RuntimeError: The command ended with another status.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        found = cli.main(list(words))
    if found not in statuses:
        command = " ".join(words)
        raise RuntimeError(f"fasdk {command}: exit status {found}: {err.getvalue()}")
    messages = [line for line in err.getvalue().splitlines() if line.startswith("fasdk: ")]
    wrapped = [part for line in messages for part in wrap(line, width, hanging=2)]
    return out.getvalue() + "".join(f"{line}\n" for line in wrapped)


def write_inputs(folder: Path) -> None:
    """Write what no command writes: people, an ONNX file, scores, a release, a CLIP and videos.

    The people are the genuine ones of the held-out captures; the file is the demo's graph, whose
    names say nothing; the scores, for `metrics`, are of two species of attack; the release, for
    `accept`, is the demo's bundle, signed by a key of its own; the CLIP is a small one with random
    weights, and the videos are WMCA's in form alone.
    """
    listed = (folder / HELD_OUT).read_text().splitlines(keepends=True)
    genuine = [line for line in listed if json.loads(line)["label"] == "bona fide"]
    (folder / PEOPLE).write_text("".join(genuine))
    write_clip_archive(folder / "ViT-B-16.pt")
    demo = open_bundle(folder / BUNDLE)
    for name in ("release.pem", "release.pem.pub"):  # of the same examples at another width
        (folder / name).unlink(missing_ok=True)
    generate_key(folder / "release.pem")
    write_bundle(
        folder / "release.fasb",
        demo.manifest.model_copy(update={"members": {}}),
        {name: bytes(content) for name, content in demo.members.items()},
        open_signer(folder / "release.pem"),
    )
    model = onnx.load_from_string(bytes(demo.graph))
    scrubbed = {value.name: f"input.{n}" for n, value in enumerate(model.graph.input)}
    for node in model.graph.node:
        node.input[:] = [scrubbed.get(name, name) for name in node.input]
    for value in model.graph.input:
        value.name = scrubbed[value.name]
    onnx.save(model, folder / "net.onnx")
    rng = np.random.default_rng(0)
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("score", "label", "species", "subject"))
        for species, mean, count in (
            ("", 2.0, 120),
            ("print flat", -2.0, 80),
            ("makeup", -1.0, 80),
        ):
            for number, score in enumerate(rng.normal(mean, 1.0, count)):
                writer.writerow((f"{score:.4f}", int(not species), species, f"{species}{number}"))
    write_packed_videos(folder / "packed")


def write_packed_videos(folder: Path) -> None:
    """Write two videos of a few frames as WMCA's two parts hold them, for `dataset unpack`."""
    rng = np.random.default_rng(0)
    for video in ("001_01_000_0_00", "002_01_015_3_01"):
        for part, planes in (("RGB", 3), ("CDIT", 4)):
            place = folder / f"preprocessed-face-station_{part}" / "12.02.18"
            place.mkdir(parents=True, exist_ok=True)
            with h5py.File(place / f"{video}.hdf5", "w") as file:
                for number in (0, 12, 24):
                    pixels = rng.integers(0, 256, (planes, 128, 128), dtype=np.uint8)
                    file[f"Frame_{number}/array"] = pixels


class _Clip(ClipText):
    """A small CLIP with random weights under OpenAI's names."""

    def __init__(self) -> None:
        super().__init__(vocabulary=515, context=77, width=64, depth=2, heads=1, feature_width=32)
        self.visual = ClipVision(64, 16, width=64, depth=2, heads=1, feature_width=32)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Return the feature of images [B, 3, 64, 64]."""
        feature: Tensor = self.visual(image)
        return feature


def write_clip_archive(path: Path) -> None:
    """Write a small CLIP as OpenAI publishes its own: as a traced program."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes, which stay the same
        trace: Any = torch.jit.trace
        traced = trace(_Clip().eval(), torch.rand(1, 3, 64, 64), check_trace=False)
    traced.half().save(str(path))


def transcripts(
    folder: Path, width: int, before: Callable[[Example], bool] = lambda _: True
) -> dict[str, str]:
    """Run the examples in a folder and return what each verb printed, its command lines included.

    Args:
        folder: Folder to run in.
        width: Columns of the terminal.
        before: Callback before each example; False leaves it out.
    """
    found: dict[str, str] = {}
    with working_folder(folder, width):
        for example in EXAMPLES:
            if before(example):
                words = [_face() if word == FACE else word for word in example.words]
                command = wrap(f"$ fasdk {shlex.join(words)}", width - 2, hanging=6)
                text = " \\\n".join(command) + "\n"
                text += mask(output_of(words, example.statuses, width))
                earlier = found.get(example.verb)
                found[example.verb] = text if earlier is None else f"{earlier}\n{text}"
            if example.verb == "demo":
                write_inputs(folder)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file of every verb, or of those asked for."""
    verbs = sorted({example.verb for example in EXAMPLES})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=verbs, action="append", help="only this verb's file")
    asked = parser.parse_args(arguments).only or verbs
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        os.environ[HOME_VARIABLE] = home
        found = transcripts(Path(folder), WIDTH, lambda each: each.verb in {"demo", *asked})
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for verb in asked:
        text = found[verb]
        (OUTPUT / f"{verb.replace(' ', '-')}.txt").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
