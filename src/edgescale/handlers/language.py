"""The language of a text, and its mood. Models are loaded when they are first needed."""

from functools import cache
from typing import TYPE_CHECKING

from edgescale.v1 import text_pb2

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier
    from textblob.en.sentiments import PatternAnalyzer

LANGUAGE_CHARACTERS = 10_000
# Below this the first guess is wrong about as often as it is right.
CONFIDENCE_MIN = 0.3
NO_LANGUAGE = frozenset({"und", "zxx"})


def language_of(text: str) -> text_pb2.Language | None:
    """The most probable language by the text's first ten thousand characters, among those of ISO 639-1.

    Returns:
        None when there is too little to judge by, such as a word or two, or numbers only.
    """
    code, confidence = _identifier().classify(text[:LANGUAGE_CHARACTERS])
    if code in NO_LANGUAGE:
        return None
    return text_pb2.Language(code=code, confidence=min(confidence, 1.0))


def sentiment_of(text: str, code: str) -> text_pb2.Sentiment | None:
    """The mood of an English text, by a lexicon of words; None for other languages.

    Args:
        text: at most some ten thousand characters: the time grows with the square of its punctuation.
        code: of its language, ISO 639-1.
    """
    if code != "en":
        return None
    polarity, subjectivity = _sentiments().analyze(text)
    return text_pb2.Sentiment(polarity=polarity, subjectivity=subjectivity)


@cache
def _identifier() -> "LanguageIdentifier":
    # Not at the top: NumPy and the model take half a second and 100 MB, which only workers should pay.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - see above

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=CONFIDENCE_MIN)
    # Codes of three letters are outside ISO 639-1; "zxx" stays, because it stands for what is no language.
    identifier.set_languages([code for code in identifier.labels if len(code) == len("en") or code in NO_LANGUAGE])
    return identifier


@cache
def _sentiments() -> "PatternAnalyzer":
    # Not at the top: it brings NLTK along. The lexicon comes with the package; nothing is downloaded.
    from textblob.en.sentiments import PatternAnalyzer  # noqa: PLC0415 - see above

    return PatternAnalyzer()
