"""What a sender says of its file in headers: name, type, size and digest."""

import base64
import binascii
import re
from email.message import Message

from starlette.datastructures import Headers

from edgescale.errors import InvalidInput
from edgescale.gateway.bodies import content_length
from edgescale.v1 import file_pb2

SHA256_HEX = re.compile(r"[0-9A-Fa-f]{64}")
# Source: RFC 9530, a dictionary (RFC 9651) of byte sequences by algorithm.
SHA256_MEMBER = re.compile(r"(?:^|,)[ \t]*sha-256[ \t]*=[ \t]*([^,]*)")
SHA256_BYTES = 32


def raw_metadata(headers: Headers, name: str | None) -> file_pb2.FileMetadata:
    """The declaration of a raw body.

    Args:
        headers: of the request.
        name: from the query; None leaves it to `Content-Disposition`.

    Raises:
        InvalidInput: a header does not parse, or two headers differ.
    """
    return file_pb2.FileMetadata(
        name=filename(headers) if name is None else name,
        content_type=headers.get("content-type", ""),
        size_bytes=content_length(headers),
        sha256=declared_sha256(headers),
    )


def filename(headers: Headers) -> str:
    """The file's name by `Content-Disposition`, `filename*` first; empty when it has none.

    Source: RFC 6266 and RFC 8187.

    Raises:
        InvalidInput: `filename*` is not in UTF-8.
    """
    message = Message()
    message["content-disposition"] = headers.get("content-disposition", "")
    params = message.get_params(failobj=[], header="content-disposition")
    names = [value for key, value in params if key.lower() == "filename"]
    for value in names:
        if isinstance(value, tuple):
            return _extended(*value)
    return _utf8_or_latin1(names[0]) if names else ""


def _extended(charset: str | None, _language: str | None, value: str) -> str:
    try:
        if (charset or "").lower() == "utf-8":
            return value.encode("latin-1").decode()
    except UnicodeError:
        pass
    raise InvalidInput("Content-Disposition", "filename* must be in UTF-8, as RFC 8187 has it")


def _utf8_or_latin1(value: str) -> str:
    # The server decodes headers as Latin-1; senders of our time mean UTF-8.
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def declared_sha256(headers: Headers) -> str:
    """The declared SHA-256 in lower-case hexadecimal digits; empty when none is declared.

    `Repr-Digest` and `Content-Digest` say the same here, because bodies in a content coding are refused. Digests by
    other algorithms are passed over.

    Raises:
        InvalidInput: a digest does not parse, or two of them differ.
    """
    found: dict[str, str] = {}
    for name in ("Repr-Digest", "Content-Digest"):
        member = SHA256_MEMBER.search(",".join(headers.getlist(name)))
        if member:
            found[name] = _from_base64(name, member[1])
    if "x-content-sha256" in headers:
        found["X-Content-SHA256"] = from_hex("X-Content-SHA256", headers["x-content-sha256"])
    if len(set(found.values())) > 1:
        raise InvalidInput(next(iter(found)), f"differs from {list(found)[-1]}")
    return next(iter(found.values()), "")


def refuse_body_digests(headers: Headers) -> None:
    """Refuse digests in headers of a form, where they would cover delimiters and fields as well.

    Raises:
        InvalidInput: there is one.
    """
    for name in ("Repr-Digest", "Content-Digest", "X-Content-SHA256"):
        if name in headers:
            raise InvalidInput(name, "would cover the whole form; send the file's digest in the field sha256")


def from_hex(field: str, value: str) -> str:
    """64 hexadecimal digits in lower case.

    Raises:
        InvalidInput: anything else.
    """
    if not SHA256_HEX.fullmatch(value.strip()):
        raise InvalidInput(field, "must be 64 hexadecimal digits")
    return value.strip().lower()


def _from_base64(name: str, member: str) -> str:
    # Parameters after the value are allowed and mean nothing.
    value = member.partition(";")[0].strip()
    try:
        raw = base64.b64decode(value[1:-1], validate=True) if value[:1] == value[-1:] == ":" else b""
    except binascii.Error:
        raw = b""
    if len(raw) != SHA256_BYTES:
        raise InvalidInput(name, "must be sha-256=:base64 of 32 bytes:")
    return raw.hex()
