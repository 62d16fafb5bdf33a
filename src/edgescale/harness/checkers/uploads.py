"""P7, uploads: what is stored is what was sent, a broken upload leaves nothing visible, memory is bounded."""

from collections.abc import Mapping, Sequence

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import Call, client_calls
from edgescale.harness.checkers.faults import STORE, Unrests
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import Event, History

PROMISE, TITLE = "P7", "uploads"
UNFOUND = frozenset({"FILE_MISSING", "FILE_CORRUPT"})
Contents = Mapping[str, Sequence[Call]]


def check(history: History) -> Verdict:
    """Judge P7. Files are told apart by their SHA-256; senders should not send the same bytes under two ids."""
    case = Case(history, PROMISE, TITLE)
    uploads = [call for call in history.view(client_calls) if call.start.operation == "upload"]
    contents: dict[str, list[Call]] = {}
    for call in uploads:
        contents.setdefault(call.start.text("sha256"), []).append(call)
    blobs = [event for event in history.named("final") if event.text("sha256")]
    case.counts["uploads"], case.counts["blobs"] = len(uploads), len(blobs)
    for blob in blobs:
        _visible(case, history, blob, contents)
    for event in history.named("final"):
        _found(case, event)
    _kept(case, history, uploads, blobs)
    _memory(case, history)
    if uploads and not history.named("final"):
        case.doubt("there is no final section")
    return case.verdict()


def _found(case: Case, event: Event) -> None:
    """Whoever works on a file finds it, whole, whether or not its sender ever heard that it was accepted."""
    if event.text("reason") in UNFOUND:
        sentence = f"the task of {event.request_id} was queued, and its file was not there as it was sent"
        case.find("not_found", sentence, event)


def _visible(case: Case, history: History, blob: Event, contents: Contents) -> None:
    """What can be seen is whole, was sent, and belongs to somebody."""
    file_id = blob.text("file_id")
    senders = contents.get(blob.text("sha256"), ())
    starts = [call.start for call in senders]
    if not blob.flag("complete"):
        case.find("partial", f"blob {file_id} is visible, and not whole", blob, *starts)
    elif not any(call.start.number("size_bytes") == blob.number("size_bytes") for call in senders):
        case.find("altered", f"blob {file_id} is nothing that anybody sent", blob, *starts)
    elif all(call.start.flag("cut") for call in senders):
        case.find("cut_but_visible", f"blob {file_id} is visible, and its sender broke off", blob, *starts)
    elif not blob.flag("referenced") and not _may_be_unused(history, senders):
        case.find("left_over", f"blob {file_id} is visible, and no task refers to it", blob, *starts)


def _may_be_unused(history: History, senders: Sequence[Call]) -> bool:
    """Where nobody knows whether a task was accepted the bytes stay, and a task may be gone before its file.

    And where the store was away, it could not be told to remove what nobody needed.
    """
    losses = history.view(Losses)
    away = history.view(Unrests).of(STORE)
    moment = Span(history.end_ns, history.end_ns)
    return any(
        call.phase in {"info", "open"} or losses.undone(call.span, moment) or away.meets(call.span) for call in senders
    )


def _kept(case: Case, history: History, uploads: Sequence[Call], blobs: Sequence[Event]) -> None:
    """What was accepted is there, whole, and with the length that was sent; and so is what a task succeeded with."""
    finals = history.named("final")
    done = {event.request_id for event in finals if event.text("state") == "succeeded"}
    sent_by: dict[str, set[str]] = {}
    for call in uploads:
        sent_by.setdefault(call.request_id, set()).add(call.start.text("sha256"))
    there = {(blob.text("sha256"), blob.number("size_bytes")) for blob in blobs if blob.flag("complete")}
    for call in uploads:
        sent = call.start.text("sha256"), call.start.number("size_bytes")
        # Where several contents were sent under one id, only their senders can tell whose was taken.
        kept = call.accepted or (call.request_id in done and len(sent_by[call.request_id]) == 1)
        if finals and kept and sent not in there:
            case.find("missing", f"the file of {call.request_id} was accepted, and is not there", call.start, call.end)
        if call.accepted and call.start.flag("cut"):
            case.find("cut_but_accepted", f"{call.request_id} broke off, and was accepted", call.start, call.end)


def _memory(case: Case, history: History) -> None:
    held_max = history.header.terms.upload_bytes_held_max
    for event in history.named("memory"):
        case.counts["memory"] += 1
        if held_max and event.number("bytes_held") > held_max:
            sentence = f"an upload held {event.number('bytes_held')} bytes, and {held_max} are allowed"
            case.find("memory", sentence, event)
