"""What makes two requests the same one."""

from edgescale.broker.model import Submission
from edgescale.ingestion.submissions import of_text
from edgescale.v1.text_pb2 import TextInput


def submitted(text: TextInput) -> Submission:
    return of_text(text, request_id="r1", traceparent="")


def test_asking_for_the_usual_number_of_terms_is_the_same_as_leaving_it_open() -> None:
    left_open, usual, more = (submitted(TextInput(text="x", top_terms=terms)) for terms in (0, 10, 11))

    assert left_open.digest == usual.digest != more.digest
    assert TextInput.FromString(left_open.envelope.payload) == TextInput(text="x", top_terms=10)


def test_the_senders_text_is_left_as_it_is() -> None:
    text = TextInput(text="x")

    submitted(text)

    assert text == TextInput(text="x")
