"""How easily a text reads: Flesch's formula and its published adaptations, and the time that reading takes."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from pyphen import Pyphen
from unicode_segmentation_rs import unicode_sentences, unicode_words

from edgescale.v1 import text_pb2

# Silent reading of non-fiction by adults. Source: Brysbaert (2019), "How many words do we read per minute?", Journal of
# Memory and Language 109.
WORDS_PER_MINUTE = 238
# Where words are not set apart. Source: Trauzettel-Klosinski and Dietz (2012), "Standardized assessment of reading
# performance", Investigative Ophthalmology & Visual Science 53.
CHARACTERS_PER_MINUTE = {"zh": 255, "ja": 357}

# Longer words are cut before their syllables are counted, and so many words are remembered: both bound what a text
# of nonsense can cost.
SYLLABLE_CHARACTERS_MAX = 64
REMEMBERED_WORDS_MAX = 20_000


class Formula(NamedTuple):
    """score = base - per_sentence * words per sentence - per_word * syllables per word."""

    name: str
    base: float
    per_sentence: float
    per_word: float


FORMULAS = {
    # Flesch (1948), "A new readability yardstick", Journal of Applied Psychology 32.
    "en": Formula("flesch-reading-ease", 206.835, 1.015, 84.6),
    # Amstad (1978), "Wie verständlich sind unsere Zeitungen?", Zürich.
    "de": Formula("flesch-amstad", 180.0, 1.0, 58.5),
    # Kandel and Moles (1958), "Application de l'indice de Flesch à la langue française", Cahiers d'études de
    # radio-télévision 19.
    "fr": Formula("flesch-kandel-moles", 207.0, 1.015, 73.6),
    # Fernández Huerta (1959), "Medidas sencillas de lecturabilidad", Consigna 214; words per sentence in place of the
    # misprinted sentences, as Law corrected it.
    "es": Formula("fernandez-huerta", 206.84, 1.02, 60.0),
    # Vacca and Franchina (1972); found more reliable than their version of 1986 by the Gruppo universitario
    # linguistico pedagogico, Rome.
    "it": Formula("flesch-vacca", 206.0, 1.0, 65.0),
    # Douma (1960), "De leesbaarheid van landbouwbladen", Wageningen.
    "nl": Formula("flesch-douma", 206.84, 0.93, 77.0),
    # Martins, Ghiraldelo, Nunes and Oliveira (1996), "Readability formulas applied to textbooks in Brazilian
    # Portuguese", São Carlos.
    "pt": Formula("flesch-martins", 248.835, 1.015, 84.6),
    # Oborneva (2006), adaptation to Russian, Moscow.
    "ru": Formula("flesch-oborneva", 206.835, 1.3, 60.1),
}
# Hyphenation dictionaries whose name is not the language's code; the American one divides more as it is spoken.
DICTIONARIES = {"en": "en_US"}


def readability_of(text: str, code: str) -> text_pb2.Readability | None:
    """The score of a text by its language's formula.

    Syllables are counted by the places where words may be hyphenated, which is an estimate.

    Args:
        text: at most some ten thousand characters.
        code: of its language, ISO 639-1.

    Returns:
        None when the language has no formula here, or the text no word.
    """
    words = unicode_words(text)
    formula = FORMULAS.get(code)
    if formula is None or not words:
        return None
    words_per_sentence = len(words) / len(unicode_sentences(text))
    syllables_per_word = count_syllables(words, code) / len(words)
    score = formula.base - formula.per_sentence * words_per_sentence - formula.per_word * syllables_per_word
    return text_pb2.Readability(score=score, formula=formula.name)


def count_syllables(words: Sequence[str], code: str) -> int:
    """Syllables of all words; each word has at least one."""
    hyphenator = _hyphenator(DICTIONARIES.get(code, code))
    syllables = sum(
        count * (1 + len(hyphenator.positions(word[:SYLLABLE_CHARACTERS_MAX])))
        for word, count in Counter(words).items()
    )
    if len(hyphenator.hd.cache) > REMEMBERED_WORDS_MAX:
        hyphenator.hd.cache.clear()
    return syllables


def reading_time_seconds(words: Sequence[str], code: str) -> float:
    """How long an adult reads, by the rate of the language where it has one of its own."""
    if code in CHARACTERS_PER_MINUTE:
        return sum(map(len, words)) * 60 / CHARACTERS_PER_MINUTE[code]
    return len(words) * 60 / WORDS_PER_MINUTE


@cache
def _hyphenator(name: str) -> Pyphen:
    # Hyphenation keeps two letters at either end together; syllables do not.
    return Pyphen(lang=name, left=1, right=1)
