"""Clients made from the OpenAPI document, and the document held against the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import cv2
import pytest
from jsonschema_rs import Draft202012Validator

from fasdk.capture import Modality
from fasdk.decision import Decision
from fasdk_tools.serving.capture_body import BINARY_TYPE
from fasdk_tools.serving.openapi import openapi_document

from support import tiny_bundle
from support.requirements import Requirement
from support.serve_process import ServeProcess, client, frames_of, free_port

# They ask for another typer than ours, or are npm's: each gets a folder of its own.
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
TYPESCRIPT = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9")
NODE_TYPES = "@types/node@20"

PYTHON_PROGRAM = """
import io, sys
sys.path.insert(0, sys.argv[2])
from made_client import Client
from made_client.api.default import check, ready
from made_client.models import CheckFilesBody, Decision, Refusal
from made_client.types import File

client = Client(base_url=sys.argv[1], timeout=20.0)
assert ready.sync_detailed(client=client).status_code == 200
names = ("rgb", "depth", "ir")
parts = {name: File(io.BytesIO(open(f"{name}.png", "rb").read()), f"{name}.png") for name in names}
found = check.sync(client=client, body=CheckFilesBody(**parts))
assert isinstance(found, Decision), found
print(found.verdict.value, found.score)
refused = check.sync(client=client, body=CheckFilesBody(capture="[]", **parts))
assert isinstance(refused, Refusal) and refused.verdict == "error", refused
"""
TYPESCRIPT_PROGRAM = """
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Decision = components["schemas"]["Decision"];
const client = createClient<paths>({ baseUrl: process.argv[2] });

async function main(): Promise<void> {
  const form = new FormData();
  for (const name of ["rgb", "depth", "ir"]) {
    form.append(name, new Blob([readFileSync(`${name}.png`)]), `${name}.png`);
  }
  const { data, error } = await client.POST("/v1/check", {
    body: {},
    bodySerializer: () => form,
    signal: AbortSignal.timeout(20_000),
  });
  if (error) throw new Error(JSON.stringify(error));
  const decision: Decision = data;
  console.log(decision.verdict, decision.score);
  const refused = await client.POST("/v1/check", { body: {}, bodySerializer: () => "{}" });
  if (refused.error?.verdict !== "error") throw new Error("an empty request was not refused");
}
main();
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    bundle = tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "lobby.fasb")
    folder = tmp_path_factory.mktemp("served")
    options = ("--http", f"127.0.0.1:{free_port()}", "--no-gates", "--deadline-ms", "20000")
    with ServeProcess.start(bundle, folder, *options, "--max-rate", "10000") as service:
        yield service.ready()


@pytest.fixture
def pictures(tmp_path):
    capture = tiny_bundle.capture(200)
    for modality in Modality:
        frame = capture.frame(modality)
        picture = frame[..., ::-1] if modality is Modality.RGB else frame
        assert cv2.imwrite(str(tmp_path / f"{modality.value}.png"), picture)
    return tmp_path


def run(words, folder, **environment):
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | environment,
        timeout=600,
    )


def expected_line(served):
    answer = client.Checker(served.service(20_000.0)).check(frames_of(tiny_bundle.capture(200)))
    return f"{answer['verdict']} {answer['score']}"


def test_the_document_describes_a_decisions_fields_and_the_answers_fit_it(served):
    document = openapi_document()
    told = json.loads(served.request("GET /openapi.json HTTP/1.1", "Host: localhost").body)
    assert told == json.loads(json.dumps(document))
    schemas = document["components"]["schemas"]
    assert {field.name for field in fields(Decision)} <= schemas["Decision"]["properties"].keys()
    asked, frames = served.service(20_000.0), frames_of(tiny_bundle.capture(200), timed=True)
    answers = {
        "Decision": client.Checker(asked).check(frames),
        "TrackDecision": client.Camera(asked, "lobby").check(frames),
        "Refusal": client.Checker(asked).check({}),
    }
    for name, answer in answers.items():
        described = {**schemas[name], "components": {"schemas": schemas}}
        Draft202012Validator(described).validate(answer)
        assert answer.keys() == schemas[name]["properties"].keys()


@pytest.mark.slow
def test_schemathesis_finds_no_undocumented_answer(served, tmp_path):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis is not installed: make install")
    checks = "status_code_conformance,content_type_conformance,response_schema_conformance"
    words = [program, "run", f"{served.address}/openapi.json", "--checks", checks]
    options = ["--max-examples", "60", "--seed", "18", "--workers", "1", "--no-color"]
    ran = run([*words, *options], tmp_path)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert re.search(r"Test cases:\s+\d+ generated", ran.stdout), ran.stdout[-1000:]
    assert "unexpected" not in served.log.read_text()


@pytest.mark.slow
def test_a_client_generated_for_python_gets_the_decision(served, pictures):
    tools = pictures / "tools"
    made = run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", tools, PYTHON_GENERATOR],
        pictures,
    )
    if made.returncode:
        Requirement.REGISTRY.skip(f"{PYTHON_GENERATOR} cannot be installed")
    (pictures / "openapi.json").write_text(json.dumps(openapi_document()))
    (pictures / "config.yml").write_text(
        "package_name_override: made_client\nproject_name_override: made\npost_hooks: []\n"
        f"content_type_overrides:\n  {BINARY_TYPE}: application/octet-stream\n"
    )
    path = {"PYTHONPATH": str(tools)}
    words = [
        "generate",
        "--path",
        "openapi.json",
        "--config",
        "config.yml",
        "--output-path",
        "made",
    ]
    made = run([sys.executable, "-m", "openapi_python_client", *words], pictures, **path)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr, made.stdout + made.stderr
    ran = run(
        [sys.executable, "-c", PYTHON_PROGRAM, served.address, pictures / "made"], pictures, **path
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == expected_line(served)


@pytest.mark.slow
def test_a_client_generated_for_typescript_gets_the_decision(served, pictures):
    Requirement.NODE.programs("node", "npm")
    words = ["npm", "install", "--no-audit", "--no-fund", *TYPESCRIPT, NODE_TYPES]
    if run(words, pictures).returncode:
        Requirement.NODE.skip(f"{', '.join(TYPESCRIPT)} cannot be installed")
    (pictures / "openapi.json").write_text(json.dumps(openapi_document()))
    (pictures / "door.ts").write_text(TYPESCRIPT_PROGRAM)
    programs = pictures / "node_modules" / ".bin"
    made = run([programs / "openapi-typescript", "openapi.json", "-o", "schema.d.ts"], pictures)
    assert made.returncode == 0, made.stderr
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck"]
    made = run([programs / "tsc", *options, "door.ts"], pictures)
    assert made.returncode == 0, made.stdout
    ran = run([shutil.which("node") or "node", "door.js", served.address], pictures)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == expected_line(served)
