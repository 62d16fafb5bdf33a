"""Texts: each one is measured and judged."""

from edgescale.handlers.analysis import analyse
from edgescale.handlers.base import Completed, Context, Offload
from edgescale.handlers.payload import decode
from edgescale.v1 import task_pb2, text_pb2

TOP_TERMS_DEFAULT = 10
TOP_TERMS_MAX = 100


class TextHandler:
    """Analyses texts: short ones where it stands, long ones in another process, so that the loop is never held up.

    Args:
        offload: calls a function in another process.
        offload_above_bytes: size of the payload above which it is used.
    """

    kind = "text"
    lane = "text"

    def __init__(self, offload: Offload, *, offload_above_bytes: int) -> None:
        self._offload = offload
        self._offload_above_bytes = offload_above_bytes

    async def handle(self, payload: bytes, context: Context) -> Completed:
        """Analyse one `edgescale.v1.TextInput`; the result is its analysis.

        Raises:
            InvalidInput: the payload is no text.
            Unavailable: the other process died; the text is analysed later.
        """
        del context
        request = decode(text_pb2.TextInput, payload)
        top_terms = min(request.top_terms or TOP_TERMS_DEFAULT, TOP_TERMS_MAX)
        if len(payload) > self._offload_above_bytes:
            encoded = await self._offload(analyse, request.text, top_terms)
        else:
            encoded = analyse(request.text, top_terms)
        analysis = text_pb2.TextAnalysis.FromString(encoded)
        return Completed(task_pb2.TaskResult(text_analysis=analysis).SerializeToString(deterministic=True))
