"""Check manifests against their schema, and write the schema as JSON."""

from typing import Any

import pydantic
from pydantic import BaseModel

from polycal.artifacts import failures
from polycal.store.manifest_schema import Failed, Manifest
from polycal.store.stages import STAGES


def problems(manifest: Any) -> list[str]:
    """One sentence for each place where a manifest violates the model of its stage; empty if it is valid."""
    try:
        _model(manifest).model_validate(manifest)
    except pydantic.ValidationError as error:
        return [
            f"its manifest breaks the schema at {'.'.join(map(str, one['loc'])) or 'the top'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        ]
    return []


def _model(manifest: Any) -> type[Manifest]:
    """The model of a manifest: ``Failed`` for a failed result, else the model of its stage."""
    if not isinstance(manifest, dict):
        return Manifest
    if manifest.get("status") == failures.FAILED:
        return Failed
    stage = STAGES.get(str(manifest.get("stage")))
    return stage.manifest if stage else Manifest


def json_schema() -> dict[str, Any]:
    """The JSON schema of manifests: the fields of all manifests, of failed results, and of each stage."""
    models: list[type[BaseModel]] = [Manifest, Failed, *(stage.manifest for stage in STAGES.values())]
    definitions: dict[str, Any] = {}
    for model in models:
        own = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= {**own.pop("$defs", {}), model.__name__: own}
    has_failed = {"properties": {"status": {"const": failures.FAILED}}, "required": ["status"]}
    rules: list[dict[str, Any]] = [{"if": has_failed, "then": {"$ref": f"#/$defs/{Failed.__name__}"}}]
    rules += [
        {
            "if": {"properties": {"stage": {"const": stage.name}}, "not": has_failed},
            "then": {"$ref": f"#/$defs/{stage.manifest.__name__}"},
        }
        for stage in STAGES.values()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The manifest of a result of polycal",
        "allOf": [{"$ref": "#/$defs/Manifest"}, *rules],
        "$defs": definitions,
    }
