"""The analysis of a text, as one function that another process can be asked to call.

Everything is counted over the whole text. Readability and sentiment are judged by its first 32,768 characters, and its
language by fewer: more would cost time and change little.
"""

from unicode_segmentation_rs import graphemes, unicode_sentences, unicode_words

from edgescale.handlers.counting import count_lines
from edgescale.handlers.language import language_of, sentiment_of
from edgescale.handlers.readability import FORMULAS, count_syllables, readability_of, reading_time_seconds
from edgescale.handlers.terms import count_terms, top_terms_of
from edgescale.v1 import text_pb2

SAMPLE_CHARACTERS = 32_768


def analyse(text: str, top_terms: int) -> bytes:
    """Measure and judge a text.

    Characters, words and sentences are those of UAX 29: grapheme clusters, words with at least one letter
    or digit, sentences with at least one letter or digit; the end of a line ends a sentence.

    Args:
        text: any; an empty one has nothing but zeros.
        top_terms: how many terms to return at most.

    Returns:
        An encoded `edgescale.v1.TextAnalysis`.
    """
    words = unicode_words(text)
    terms = count_terms(words)
    sample = text[:SAMPLE_CHARACTERS]
    language = language_of(sample)
    code = language.code if language else ""
    return text_pb2.TextAnalysis(
        characters=len(graphemes(text, is_extended=True)),
        words=len(words),
        sentences=len(unicode_sentences(text)),
        lines=count_lines(text),
        unique_words=len(terms),
        top_terms=top_terms_of(terms, top_terms),
        reading_time_seconds=reading_time_seconds(words, code),
        readability=readability_of(sample, code),
        language=language,
        sentiment=sentiment_of(sample, code),
    ).SerializeToString(deterministic=True)


def warm() -> None:
    """Load models and dictionaries now rather than with the first text; takes two seconds and 170 MB."""
    analyse("It is a truth universally acknowledged.", 1)
    for code in FORMULAS:
        count_syllables(("word",), code)
