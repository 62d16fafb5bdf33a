"""The words of a text by frequency."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

from edgescale.v1 import text_pb2


def count_terms(words: Iterable[str]) -> Counter[str]:
    """How often each word occurs, words being the same when they are after NFKC and case folding.

    Source: The Unicode Standard, 3.13, "Default Caseless Matching".
    """
    terms: Counter[str] = Counter()
    for word, count in Counter(words).items():
        terms[_folded(word)] += count
    return terms


def top_terms_of(terms: Counter[str], limit: int) -> list[text_pb2.Term]:
    """The most frequent terms, equals in the order of their code points.

    Left out are words without a letter, such as numbers, and single letters of alphabets with cases, such as "a"; a
    single ideograph is a word. Function words such as "the" stay in: no list of ours could be right in every language.
    """
    frequent = sorted(
        ((term, count) for term, count in terms.items() if _is_term(term)), key=lambda pair: (-pair[1], pair[0])
    )
    return [text_pb2.Term(term=term, count=count) for term, count in frequent[:limit]]


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", word).casefold())


def _is_term(term: str) -> bool:
    if len(term) == 1:
        return unicodedata.category(term) == "Lo"
    return any(character.isalpha() for character in term)
