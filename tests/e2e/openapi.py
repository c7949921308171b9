"""Checks an OpenAPI document, and values against the schemas in it.

Standard input: {"document": ..., "cases": [{"path", "what", "value", "fits"}]}, where `what` is
`request` or the status of a response. Says what is wrong on standard error; exits with 1 then.
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:document"


def pointer(parts):
    return "#/" + "/".join(part.replace("~", "~0").replace("/", "~1").replace("%", "%25") for part in parts)


def faults(given):
    document = given["document"]
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        yield f"the document: {list(error.absolute_path)}: {error.message}"
    registry = Registry().with_resource(DOCUMENT, DRAFT202012.create_resource(document))
    for case in given["cases"]:
        path, what = case["path"], case["what"]
        operation = document["paths"][path]["post"]
        parts = ["paths", path, "post"]
        if what == "request":
            parts += ["requestBody"]
        elif "$ref" in operation["responses"][what]:
            parts = operation["responses"][what]["$ref"].removeprefix("#/").split("/")
        else:
            parts += ["responses", what]
        parts += ["content", "application/json", "schema"]
        schema = Draft202012Validator({"$ref": DOCUMENT + pointer(parts)}, registry=registry)
        errors = [error.message for error in schema.iter_errors(case["value"])]
        if bool(errors) == case["fits"]:
            yield f"{path} {what}: {json.dumps(case['value'])[:500]}: {errors or 'it fits'}"


found = list(faults(json.load(sys.stdin)))
print("\n".join(found), file=sys.stderr)
sys.exit(1 if found else 0)
