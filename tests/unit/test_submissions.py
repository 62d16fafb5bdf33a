"""What makes two requests the same one."""

from edgescale.broker.model import Submission
from edgescale.ingestion.submissions import of_text
from edgescale.v1.task_pb2 import Schedule
from edgescale.v1.text_pb2 import TextInput


def submitted(text: TextInput) -> Submission:
    return of_text(text, request_id="r1", traceparent="", schedule=Schedule())


def test_asking_for_the_usual_number_of_terms_is_the_same_as_leaving_it_open() -> None:
    left_open, usual, more = (submitted(TextInput(text="x", top_terms=terms)) for terms in (0, 10, 11))

    assert left_open.digest == usual.digest != more.digest
    assert TextInput.FromString(left_open.envelope.payload) == TextInput(text="x", top_terms=10)


def test_the_senders_text_is_left_as_it_is() -> None:
    text = TextInput(text="x")

    submitted(text)

    assert text == TextInput(text="x")


def test_a_schedule_is_the_envelopes_and_makes_no_other_request() -> None:
    text, schedule = TextInput(text="x"), Schedule()
    schedule.not_before.FromMilliseconds(1_700_000_000_123)
    schedule.expire_time.FromMilliseconds(1_700_000_009_000)
    scheduled = of_text(text, request_id="r1", traceparent="", schedule=schedule)

    assert (scheduled.envelope.not_before_ms, scheduled.envelope.expires_ms) == (1_700_000_000_123, 1_700_000_009_000)
    assert scheduled.digest == submitted(text).digest
    assert (submitted(text).envelope.not_before_ms, submitted(text).envelope.expires_ms) == (0, 0)


def test_a_deadline_before_1970_is_past_and_not_absent() -> None:
    schedule = Schedule()
    schedule.expire_time.FromMilliseconds(-5)
    late = of_text(TextInput(text="x"), request_id="r1", traceparent="", schedule=schedule)

    assert late.envelope.expires_ms == 1


def test_the_ordering_key_is_part_of_what_makes_two_requests_the_same() -> None:
    def under(key: str) -> Submission:
        return of_text(TextInput(text="x"), request_id="k:1", traceparent="", schedule=Schedule(), ordering_key=key)

    assert len({under("k").digest, under("j").digest, submitted(TextInput(text="x")).digest}) == 3
    assert under("k") == under("k")
    assert under("").digest == submitted(TextInput(text="x")).digest
    assert (under("k").envelope.ordering_key, under("k").record("5-0", waits=True).ordering_key) == ("k", "k")
