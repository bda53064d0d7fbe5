"""OpenAPI document of the service, made of the models that its captures and answers have."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from fasdk.backends.engine import Backend
from fasdk.capture import Modality
from fasdk.decision import Decision, Verdict
from fasdk.reasons import Reason
from fasdk.tracking.track_decision import TrackDecision
from fasdk_tools.serving.capture_body import BINARY_TYPE, CaptureHeader
from fasdk_tools.serving.refusals import Refusal

DEADLINE_HEADER = "Fasdk-Deadline-Ms"
_REF = "#/components/schemas/{model}"
_NUMBERS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_MAYBE_NUMBER: dict[str, Any] = {"type": ["number", "null"]}
_MAYBE_TEXT: dict[str, Any] = {"type": ["string", "null"]}


class Route(Enum):
    """Paths of the service."""

    CHECK = "/v1/check"
    FRAMES = "/v1/cameras/{camera}/frames"
    HEALTH = "/healthz"
    READY = "/readyz"
    DOCUMENT = "/openapi.json"

    @property
    def path(self) -> str:
        """Path, with the names of its variables in braces."""
        return self.value

    @property
    def asks_token(self) -> bool:
        """Whether a request needs the token; health and the document tell nothing of captures."""
        return self in (Route.CHECK, Route.FRAMES)

    @classmethod
    def of(cls, resource: Any) -> Route | None:
        """Return the path that a resource of the router stands for, or None for none of these."""
        path = None if resource is None else resource.canonical
        return next((route for route in cls if route.path == path), None)


def openapi_document() -> dict[str, Any]:
    """Return the document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fasdk serve",
            "version": version("fasdk"),
            "description": "Verdicts of a face-liveness session. Open a door for the verdict live "
            "alone, in an answer with status 200 or a message of a camera's stream; whatever else "
            "comes, or does not come in time, keeps it shut.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost"}],
        "security": [{}, {"token": []}],
        "paths": {
            Route.CHECK.path: {"post": _check()},
            Route.FRAMES.path: {"get": _frames()},
            Route.HEALTH.path: {"get": _state("health", "Tell that the process runs", "ok")},
            Route.READY.path: {
                "get": _state(
                    "ready",
                    "Tell whether captures are judged: the golden captures were replayed, and the "
                    "engine still reproduces one",
                    "ready",
                    Refusal.NOT_READY,
                )
            },
            Route.DOCUMENT.path: {
                "get": {
                    "operationId": "document",
                    "summary": "This document",
                    "security": [{}],
                    "responses": {
                        "200": {
                            "description": "OpenAPI 3.1.",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        },
                        **_refusals(),
                    },
                }
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of --token-file, where the service was given one.",
                }
            },
        },
    }


def _check() -> dict[str, Any]:
    part: dict[str, Any] = {"type": "string", "format": "binary"}
    return {
        "operationId": "check",
        "summary": "Decide on one capture by itself",
        "description": "No attempts are counted here: a door uses a camera's stream.",
        "parameters": [
            {
                "name": DEADLINE_HEADER,
                "in": "header",
                "required": False,
                "description": "Milliseconds to the answer, where fewer than the service's own.",
                "schema": {"type": "integer", "minimum": 1, "maximum": 999_999},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "capture": {
                                "type": "string",
                                "contentMediaType": "application/json",
                                "contentSchema": {"$ref": _REF.format(model="CaptureHeader")},
                                "description": "A CaptureHeader as JSON.",
                            },
                            **{modality.value: part for modality in Modality},
                        },
                        "additionalProperties": False,
                    }
                },
                BINARY_TYPE: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "4 bytes with the length of the header, little-endian; the "
                        "CaptureHeader as JSON; the frames in the order rgb, depth, ir.",
                    }
                },
                "application/octet-stream": {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": f"The same as {BINARY_TYPE}.",
                    }
                },
            },
        },
        "responses": {
            "200": _answer("The decision, of any verdict.", "Decision"),
            **_refusals(
                Refusal.BAD_REQUEST,
                Refusal.TOKEN,
                Refusal.TOO_LARGE,
                Refusal.CONTENT_TYPE,
                Refusal.RATE,
                Refusal.NOT_READY,
                Refusal.OVERLOADED,
                Refusal.DEADLINE,
            ),
        },
    }


def _frames() -> dict[str, Any]:
    return {
        "operationId": "frames",
        "summary": "Stream a camera's frames over WebSocket",
        "description": f"A binary message is a capture as a body of {BINARY_TYPE}; each is "
        "answered by a text message, in order: a TrackDecision, or a Refusal.",
        "parameters": [
            {
                "name": "camera",
                "in": "path",
                "required": True,
                "description": "Name of the camera, on whose account attempts are.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"},
            }
        ],
        "responses": {
            "101": {"description": "The stream begins."},
            **_refusals(
                Refusal.BAD_REQUEST,
                Refusal.TOKEN,
                Refusal.NOT_FOUND,
                Refusal.CAMERA_BUSY,
                Refusal.WEBSOCKET,
                Refusal.NOT_READY,
            ),
        },
        "x-answers": {
            "oneOf": [
                {"$ref": _REF.format(model="TrackDecision")},
                {"$ref": _REF.format(model="Refusal")},
            ]
        },
    }


def _state(name: str, summary: str, status: str, *more: Refusal) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"status": {"type": "string", "const": status}},
        "required": ["status"],
    }
    return {
        "operationId": name,
        "summary": summary,
        "security": [{}],
        "responses": {
            "200": {"description": "Yes.", "content": {"application/json": {"schema": schema}}},
            **_refusals(*more),
        },
    }


def _answer(description: str, model: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(*some: Refusal) -> dict[str, Any]:
    """Return the answers of refusals by status; those that any request may get are among them."""
    every = (
        *some,
        Refusal.HOST,
        Refusal.ORIGIN,
        Refusal.EXPECTATION,
        Refusal.UNEXPECTED,
        Refusal.CONNECTIONS,
        Refusal.BAD_REQUEST,
    )
    by_status: dict[str, list[str]] = {}
    for refusal in sorted(set(every), key=lambda each: (each.status, each.error)):
        by_status.setdefault(str(refusal.status), []).append(f"{refusal.error}: {refusal.when}")
    return {
        status: _answer("; ".join(lines) + ".", "Refusal") for status, lines in by_status.items()
    }


def _schemas() -> dict[str, Any]:
    _, given = models_json_schema([(CaptureHeader, "validation")], ref_template=_REF)
    models: dict[str, Any] = given["$defs"]
    decision = _decision_properties()
    track = decision | _track_properties()
    return models | {
        "Decision": _object(decision, "A decision on a capture, as `fasdk check --json` prints."),
        "TrackDecision": _object(track, "A decision after one more frame of a camera."),
        "Refusal": _object(
            {
                "verdict": {"type": "string", "const": Verdict.ERROR.value},
                "error": {
                    "type": "string",
                    "enum": [refusal.error for refusal in Refusal],
                    "description": "What was refused, for programs.",
                },
                "codes": _codes(),
                "reasons": _TEXTS | {"description": "Why, one line."},
            },
            "A request that was not judged; its verdict is always error.",
        ),
    }


def _object(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
    }


def _codes() -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "string", "enum": [reason.value for reason in Reason]},
        "description": "Reason codes, in the order of the reasons.",
    }


def _decision_properties() -> dict[str, Any]:
    """Return the schema of each field of a decision's document, in its order."""
    known: dict[str, Any] = {
        "verdict": {
            "type": "string",
            "enum": [verdict.value for verdict in Verdict],
            "description": "Only live opens a door.",
        },
        "reasons": _TEXTS | {"description": "Why, one line each."},
        "codes": _codes(),
        "score": _MAYBE_NUMBER | {"description": "P(bona fide) in [0, 1]; null without a score."},
        "threshold": _MAYBE_NUMBER | {"description": "Score that had to be exceeded."},
        "operating_point": _MAYBE_TEXT | {"description": "Name of the operating point."},
        "class_scores": _NUMBERS | {"description": "Softmax score by label."},
        "modalities": {
            "type": "array",
            "items": {"type": "string", "enum": [modality.value for modality in Modality]},
            "description": "Modalities the capture held and the model used.",
        },
        "reliability": _NUMBERS | {"description": "How typical each sensor's picture is."},
        "certainty": _NUMBERS | {"description": "The model's own certainty by modality."},
        "bundle_id": {"type": "string", "description": "Identifier of the bundle that answered."},
        "trust": {"type": "string", "description": "Trust mode of that bundle."},
        "timings_ms": _NUMBERS | {"description": "Milliseconds by stage."},
    }
    named = {field.name: known[field.name] for field in fields(Decision)}
    return named | {
        "bundle": {"type": "string", "description": "Path of the bundle on the service's machine."},
        "backend": {"type": "string", "enum": [backend.value for backend in Backend]},
    }


def _track_properties() -> dict[str, Any]:
    """Return the schema of each field that a track's decision has besides."""
    known: dict[str, Any] = {
        "camera_id": {"type": "string", "description": "Name of the camera."},
        "frames": {"type": "integer", "description": "Frames that counted towards this verdict."},
        "log_likelihood_ratio": _MAYBE_NUMBER | {"description": "Evidence so far, in nats."},
        "wait_ms": _MAYBE_NUMBER
        | {"description": "Milliseconds for which nobody is judged; null until a guard releases."},
        "frame": {
            "type": ["object", "null"],
            "description": "Decision on the frame by itself; null where it was not scored.",
        },
    }
    inherited = {field.name for field in fields(Decision)}
    own = [field.name for field in fields(TrackDecision) if field.name not in inherited]
    return {name: known[name] for name in own}
