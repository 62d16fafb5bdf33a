import time
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgescale.errors import InvalidInput
from edgescale.handlers.analysis import analyse, warm
from edgescale.handlers.base import Context
from edgescale.handlers.readability import FORMULAS, REMEMBERED_WORDS_MAX, _hyphenator, count_syllables
from edgescale.handlers.text import TextHandler
from edgescale.v1.task_pb2 import TaskResult
from edgescale.v1.text_pb2 import TextAnalysis, TextInput

P = ParamSpec("P")
T = TypeVar("T")

GETTYSBURG = (
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, "
    "and dedicated to the proposition that all men are created equal. Now we are engaged in a great civil war, testing "
    "whether that nation, or any nation so conceived and so dedicated, can long endure. We are met on a great "
    "battle-field of that war."
)
PASSAGES = {
    "en": GETTYSBURG,
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos, dotados como están de razón.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. São dotados de razão.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",  # noqa: RUF001 - it is Russian
    "ja": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "sv": "Alla människor är födda fria och lika i värde och rättigheter. De har utrustats med förnuft och samvete.",
}


@pytest.fixture(scope="module", autouse=True)
def _models() -> None:
    warm()


def analysed(text: str, top_terms: int = 10) -> TextAnalysis:
    return TextAnalysis.FromString(analyse(text, top_terms))


def terms(text: str, top_terms: int = 10) -> list[tuple[str, int]]:
    return [(term.term, term.count) for term in analysed(text, top_terms).top_terms]


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("", 0),
        ("abc", 3),
        ("👨‍👩‍👧‍👦", 1),
        ("👍🏽🏳️‍🌈", 2),
        ("🇩🇪🇫🇷", 2),
        ("e\u0301e\u0301", 2),
        ("한국어", 3),
        ("नमस्ते", 3),
        ("a\r\nb", 3),
        ("日本語", 3),
        ("שלום", 4),
    ],
)
def test_characters_are_what_a_reader_takes_for_one(text: str, characters: int) -> None:
    assert analysed(text).characters == characters


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n\t ", 0),
        ("?!... --", 0),
        ("👨‍👩‍👧‍👦 👍", 0),
        ("Can't stop, won't stop.", 4),
        ("naïve cafe\u0301", 2),
        ("state-of-the-art", 4),
        ("3.14 and 1,000", 3),
        ("日本語", 3),
        ("カタカナ", 1),
        ("مرحبا بالعالم", 2),
        ("שלום עולם", 2),
        ("left\u200eright", 1),
    ],
)
def test_words_follow_unicode(text: str, words: int) -> None:
    assert analysed(text).words == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        (" \n \n", 0),
        ("One", 1),
        ("One. Two! Three?", 3),
        ("It costs 3.50 euros.", 1),
        ("one line\nanother line", 2),
        ("これは本です。あれはペンです。", 2),
        ("...", 0),
    ],
)
def test_sentences_without_a_word_do_not_count(text: str, sentences: int) -> None:
    assert analysed(text).sentences == sentences


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", 0),
        ("a", 1),
        ("a\n", 1),
        ("\n", 1),
        ("a\nb", 2),
        ("a\r\nb\rc\nd\r\n", 4),
        ("\r\r\n\n", 3),
        ("a\u2028b\u2029c\x85d", 4),
        ("a\fb\vc\x1cd\x1ee", 1),
    ],
)
def test_lines_are_counted_as_a_person_counts_them(text: str, lines: int) -> None:
    assert analysed(text).lines == lines


def test_a_word_is_the_same_in_any_case_and_encoding() -> None:
    analysis = analysed("Straße STRASSE strasse café CAFE\u0301 ﬁne FINE")
    assert analysis.unique_words == 3
    assert terms("Straße STRASSE café CAFE\u0301") == [("café", 2), ("strasse", 2)]


def test_top_terms_are_the_most_frequent_ones_and_equals_are_in_order() -> None:
    assert terms("pear Apple fig apple PEAR apple fig 7", 3) == [("apple", 3), ("fig", 2), ("pear", 2)]


def test_numbers_and_single_letters_are_no_terms_but_ideographs_are() -> None:
    assert terms("a 1 22 I x2 Ω 3.14 本 本") == [("本", 2), ("x2", 1)]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_no_more_terms_are_returned_than_asked_for(limit: int) -> None:
    text = " ".join(f"word{number}" for number in range(150))
    assert len(terms(text, limit)) == limit


@pytest.mark.parametrize("code", PASSAGES)
def test_the_language_of_a_sentence_is_found(code: str) -> None:
    language = analysed(PASSAGES[code]).language
    assert language.code == code
    assert 0.9 < language.confidence <= 1


@pytest.mark.parametrize(
    "text", ["", " ", "ok", "42", "12:30 2024-01-01", "👍👍👍", "Hello", "x7f3a 9b2c 4d1e ff00 a1b2c3"]
)
def test_too_little_text_or_what_is_no_language_has_none(text: str) -> None:
    analysis = analysed(text)
    assert not analysis.HasField("language")
    assert not analysis.HasField("sentiment")
    assert not analysis.HasField("readability")


def test_a_known_sentence_has_its_known_readability() -> None:
    # 6 words, 1 sentence, 6 syllables: 206.835 - 1.015 * 6 - 84.6 * 1.
    readability = analysed("The cat sat on the mat.").readability
    assert readability.formula == "flesch-reading-ease"
    assert readability.score == pytest.approx(116.145)


def test_a_known_german_sentence_has_its_known_readability() -> None:
    # 8 words, 1 sentence, 11 syllables: 180 - 8 - 58.5 * 11 / 8.
    readability = analysed("Das ist ein Haus mit vielen großen Katzen.").readability
    assert readability.formula == "flesch-amstad"
    assert readability.score == pytest.approx(180 - 8 - 58.5 * 11 / 8)


@pytest.mark.parametrize("code", PASSAGES)
def test_only_languages_with_a_published_formula_have_a_readability(code: str) -> None:
    analysis = analysed(PASSAGES[code])
    assert analysis.HasField("readability") == (code in FORMULAS)
    if code in FORMULAS:
        assert analysis.readability.formula == FORMULAS[code].name
        assert -50 < analysis.readability.score < 120


def test_hard_words_read_harder_than_easy_ones() -> None:
    easy = analysed("The dog ran to the big red house. The cat sat by the door and ate.").readability.score
    hard = analysed(
        "The implementation of organizational restructuring necessitates considerable interdepartmental coordination."
    ).readability.score
    assert easy > 90
    assert hard < 0


def test_every_word_has_at_least_one_syllable_and_words_count_as_often_as_they_occur() -> None:
    assert count_syllables(["the", "the", "happy", "123", "x"], "en") == 1 + 1 + 2 + 1 + 1


@pytest.mark.parametrize(
    ("word", "code", "syllables"),
    [("city", "en", 2), ("university", "en", 5), ("amico", "it", 3), ("uma", "pt", 2), ("geboren", "nl", 3)],
)
def test_syllables_of_one_letter_count(word: str, code: str, syllables: int) -> None:
    assert count_syllables([word], code) == syllables


def test_words_of_past_texts_are_not_remembered_for_ever() -> None:
    for start in range(0, 3 * REMEMBERED_WORDS_MAX, REMEMBERED_WORDS_MAX):
        count_syllables([f"w{number}" for number in range(start, start + REMEMBERED_WORDS_MAX)], "nl")
    assert len(_hyphenator("nl").hd.cache) <= 2 * REMEMBERED_WORDS_MAX
    count_syllables(["a" * 100_000], "nl")
    assert max(map(len, _hyphenator("nl").hd.cache)) < 100


def test_a_long_text_is_judged_by_its_beginning_and_counted_as_a_whole() -> None:
    beginning = ("I love this wonderful place. " * 2000)[:32_768]
    end = "Die Regierung ist schrecklich. I hate it! " * 2000
    part, whole = analysed(beginning), analysed(beginning + end)
    assert (whole.language, whole.readability, whole.sentiment) == (part.language, part.readability, part.sentiment)
    assert whole.characters == part.characters + len(end)
    assert whole.words > part.words


def test_the_mood_of_an_english_text_has_the_right_sign() -> None:
    glad = analysed("I love this wonderful place. The food is great and everybody is happy.").sentiment
    angry = analysed("I hate this awful place. The food is terrible and everybody is sad.").sentiment
    flat = analysed("The train leaves from the third platform at the main station.").sentiment
    assert glad.polarity > 0.4
    assert angry.polarity < -0.4
    assert abs(flat.polarity) < 0.2
    assert glad.subjectivity > flat.subjectivity


def test_no_other_language_has_a_mood() -> None:
    assert not analysed("Ich hasse diesen schrecklichen Ort. Das Essen ist furchtbar.").HasField("sentiment")


def test_reading_time_is_by_words_or_by_characters_where_words_are_not_set_apart() -> None:
    assert analysed(GETTYSBURG).reading_time_seconds == pytest.approx(analysed(GETTYSBURG).words * 60 / 238)
    assert analysed("我喜欢这本书。").reading_time_seconds == pytest.approx(6 * 60 / 255)
    assert analysed("日本語のテキスト。").reading_time_seconds == pytest.approx(8 * 60 / 357)
    assert analysed("").reading_time_seconds == 0


def test_nothing_is_fetched_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("a connection was made")

    monkeypatch.setattr("socket.socket.connect", refuse)
    warm()
    analysed(GETTYSBURG)


@pytest.mark.parametrize(
    "unit",
    ["The quick brown fox cannot be happy. ", "!", ":) ", "a", "a.b.", "not ", "日本語。", "e\u0301", "\n", "👨‍👩‍👧‍👦"],
)
def test_the_longest_text_takes_no_more_than_seconds(unit: str) -> None:
    text = (unit * (1_048_576 // len(unit.encode()) + 1))[: 1_048_576 // len(unit.encode()) * len(unit)]
    begin = time.perf_counter()
    analyse(text, 100)
    assert time.perf_counter() - begin < 5


def test_a_text_of_different_words_takes_no_more_than_seconds() -> None:
    text = "The weather is nice today. " + " ".join(f"{number:x}ing" for number in range(0x10000, 0x10000 + 120_000))
    begin = time.perf_counter()
    analyse(text, 100)
    assert time.perf_counter() - begin < 5


@given(st.text(max_size=300), st.integers(1, 100))
# One character and two words: U+0E33 joins the character before it, and not the word. Source: UAX 29, SpacingMark.
@example("0\u0e33", 1)
def test_any_text_can_be_analysed(text: str, top_terms: int) -> None:
    analysis = analysed(text, top_terms)
    assert analysis.characters <= len(text)
    assert analysis.unique_words <= analysis.words <= len(text)
    assert analysis.sentences <= max(1, analysis.words)
    assert len(analysis.top_terms) <= min(top_terms, analysis.unique_words)
    assert -1 <= analysis.sentiment.polarity <= 1
    assert 0 <= analysis.language.confidence <= 1


class Elsewhere:
    """Stands for the pool, and notes what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[Callable[..., Any]] = []

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.calls.append(function)
        return function(*args, **kwargs)

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return self._call(function, *args, **kwargs)


def context() -> Context:
    return Context(request_id="r1", kind="text", attempt=1, attempts_max=5, accepted_ms=1)


async def handled(request: TextInput, elsewhere: Elsewhere) -> TextAnalysis:
    handler = TextHandler(elsewhere, offload_above_bytes=1000)
    outcome = await handler.handle(request.SerializeToString(), context())
    return TaskResult.FromString(outcome.result).text_analysis


async def test_a_short_text_is_analysed_in_place_and_a_long_one_elsewhere() -> None:
    elsewhere = Elsewhere()
    assert await handled(TextInput(text=GETTYSBURG), elsewhere) == analysed(GETTYSBURG)
    assert elsewhere.calls == []
    assert await handled(TextInput(text=GETTYSBURG * 4), elsewhere) == analysed(GETTYSBURG * 4)
    assert elsewhere.calls == [analyse]


@pytest.mark.parametrize(("asked", "returned"), [(0, 10), (3, 3), (100, 100), (5000, 100)])
async def test_ten_terms_are_returned_unless_asked_otherwise(asked: int, returned: int) -> None:
    text = " ".join(f"word{number}" for number in range(150))
    analysis = await handled(TextInput(text=text, top_terms=asked), Elsewhere())
    assert len(analysis.top_terms) == returned


async def test_a_payload_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"edgescale\.v1\.TextInput"):
        await TextHandler(Elsewhere(), offload_above_bytes=1000).handle(b"\xff\xff", context())
