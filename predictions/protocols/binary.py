"""The protocol's extension by binary tensor data, as Triton's clients send and want them unless told otherwise.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

The tensors' bytes stand behind the JSON, little-endian; of BYTES each element behind its length. A header says where
the JSON ends.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from typing import IO, Any

from django.http import HttpResponse
from rest_framework.exceptions import ParseError
from rest_framework.renderers import JSONRenderer

from predictions.protocols.bodies import BoundedJSONParser
from predictions.protocols.tensors import IMAGES, MOST_IMAGES, PIXELS

HEADER = "Inference-Header-Content-Length"
LENGTH = struct.Struct("<I")
CODES = {"FP32": "f", "INT64": "q"}  # of outputs, with array's codes


class TensorParser(BoundedJSONParser):
    """JSON, whatever type it is said to have, and perhaps a tensor's bytes behind it."""

    media_type = "*/*"

    def read(self, file: IO[bytes], parser_context: Any) -> Any:
        """Return the content, with the bytes as the tensor's data. Raises ParseError."""
        length = parser_context["request"].headers.get(HEADER)
        if length is None:
            return super().read(file, parser_context)
        body = file.read()
        if not (length.isascii() and length.isdigit() and int(length) <= len(body)):
            raise ParseError(f"{HEADER} is the length of the JSON, in bytes")
        content = super().read(BytesIO(body[: int(length)]), parser_context)
        with suppress(KeyError, IndexError, TypeError):  # what is wrong with it then, the serializer says
            _attach(content["inputs"][0], body[int(length) :])
        return content


def _attach(tensor: dict[str, Any], binary: bytes) -> None:
    """Give a tensor its data. Raises ParseError, and KeyError or TypeError of what is no binary tensor."""
    if tensor["parameters"]["binary_data_size"] != len(binary):
        raise ParseError(f"Behind the JSON are {len(binary)} bytes, which is not the binary_data_size")
    tensor["data"] = _split(binary) if tensor["datatype"] == IMAGES else _numbers(PIXELS[tensor["datatype"]], binary)


def _split(binary: bytes) -> list[bytes]:
    """Return the elements, each of which stands behind its length. Raises ParseError."""
    found: list[bytes] = []
    start = 0
    while start + LENGTH.size <= len(binary) and len(found) < MOST_IMAGES:
        end = start + LENGTH.size + LENGTH.unpack_from(binary, start)[0]
        found.append(binary[start + LENGTH.size : end])
        start = end
    if start != len(binary):
        raise ParseError(f"Binary BYTES are up to {MOST_IMAGES} elements, each behind its length in four bytes")
    return found


def _numbers(code: str, binary: bytes) -> array[Any]:
    try:
        return array(code, binary)
    except ValueError as error:
        raise ParseError("Behind the JSON is no whole number of elements") from error


def binary_outputs(asked: dict[str, Any], names: Collection[str]) -> set[str]:
    """Return which of these outputs a valid request wants in binary."""
    default = asked.get("parameters", {}).get("binary_data_output", False)
    said = {output["name"]: output.get("parameters", {}) for output in asked.get("outputs", [])}
    return {name for name in names if said.get(name, {}).get("binary_data", default) is True}


def respond(content: dict[str, Any], names: Collection[str]) -> HttpResponse:
    """Answer with the outputs of these names as bytes behind the JSON."""
    outputs, behind = [], []
    for output in content["outputs"]:
        if output["name"] not in names:
            outputs.append(output)
            continue
        behind.append(_pack(output["datatype"], output["data"]))
        about = {key: output[key] for key in ("name", "datatype", "shape")}
        outputs.append({**about, "parameters": {"binary_data_size": len(behind[-1])}})
    head = JSONRenderer().render({**content, "outputs": outputs})
    return HttpResponse(b"".join([head, *behind]), "application/octet-stream", headers={HEADER: str(len(head))})


def _pack(datatype: str, data: list[Any]) -> bytes:
    if datatype in CODES:
        return array(CODES[datatype], data).tobytes()
    texts = [text.encode() for text in data]
    return b"".join(LENGTH.pack(len(text)) + text for text in texts)
