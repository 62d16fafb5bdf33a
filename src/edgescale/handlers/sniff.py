"""What the first bytes of a file say of it."""

from io import BytesIO

import imagesize
import puremagic

from edgescale.v1 import file_pb2

# As many of the first bytes as are looked at; the dimensions of a JPEG stand after its embedded thumbnail.
HEAD_BYTES = 256 * 1024
UNKNOWN = "application/octet-stream"
EMPTY = "application/x-empty"
PLAIN = "text/plain"

# The types that a text is taken for. Most signatures of other types are words that a text may well begin with.
MARKUP = frozenset(
    {
        "application/pdf",
        "application/postscript",
        "application/rtf",
        "application/xml",
        "image/svg+xml",
        "text/html",
    }
)
# Many formats are archives in this one; which of them cannot be told from the signature they share.
ARCHIVE = "application/zip"
# A single byte is chance.
SIGNATURE_BYTES_MIN = 2
# Shorter ones are only believed when no longer one matches, be it of a format without a media type.
SIGNATURE_BYTES_SURE = 4

# Formats whose header imagesize reads in bounded time. Its reader of Netpbm takes quadratic time.
RASTER = frozenset(
    {
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jp2",
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/webp",
        "image/x-ms-bmp",
    }
)


def media_type(head: bytes, *, is_text: bool) -> str:
    """The media type by the signatures in the first bytes.

    Args:
        head: the first `HEAD_BYTES`, or all there are.
        is_text: whether the whole file is UTF-8 text.
    """
    if not head:
        return EMPTY
    matches = _signatures(head)
    if is_text:
        return next((match.mime_type for match in matches if match.mime_type in MARKUP), PLAIN)
    return _best_type(matches)


def image_dimensions(head: bytes, detected_type: str) -> file_pb2.ImageDimensions | None:
    """Width and height in pixels as stored, before any rotation that Exif asks for.

    Args:
        head: the first `HEAD_BYTES`, or all there are.
        detected_type: by `media_type`.

    Returns:
        None when this is no image whose header can be read.
    """
    if detected_type not in RASTER:
        return None
    # Looking for the rotation makes imagesize build tables whose size a few bytes of a HEIF file decide.
    width, height = imagesize.get(BytesIO(head), exif_rotation=False)
    if width <= 0 or height <= 0:
        return None
    return file_pb2.ImageDimensions(width=width, height=height)


def _signatures(head: bytes) -> list[puremagic.PureMagicWithConfidence]:
    """Signatures that match, longest first."""
    try:
        matches = puremagic.magic_string(head)
    except puremagic.PureError:
        return []
    # Those with a negative offset count from the end of the file, which the head need not be.
    return [match for match in matches if match.offset >= 0]


def _best_type(matches: list[puremagic.PureMagicWithConfidence]) -> str:
    named = [match for match in matches if match.mime_type and len(match.byte_match) >= SIGNATURE_BYTES_MIN]
    if not named:
        return UNKNOWN
    length = len(named[0].byte_match)
    if length < SIGNATURE_BYTES_SURE and length < len(matches[0].byte_match):
        return UNKNOWN
    equals = [match.mime_type.strip() for match in named if len(match.byte_match) == length]
    return ARCHIVE if ARCHIVE in equals else equals[0]
