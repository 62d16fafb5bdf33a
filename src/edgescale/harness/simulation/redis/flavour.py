"""The servers that the model can be: where they differ, the model differs with them."""

from dataclasses import dataclass

_PLAIN_INTEGER_MAX = 1e17


@dataclass(frozen=True, slots=True)
class Flavour:
    """One server and version.

    Attributes:
        name: as HELLO gives it.
        product: as error texts call it.
        version: its own version.
        redis_version: the Redis whose behaviour it promises, as INFO gives it.
        modern: has what Redis 7.2 changed, Valkey being a descendant: blocked commands run anew when their key
            changes, and readers and claimers become consumers even when there is nothing for them.
        names_failed_script: the error of a script says which one it was.
    """

    name: str
    product: str
    version: str
    redis_version: str
    modern: bool
    names_failed_script: bool

    def number(self, value: float) -> bytes:
        """A double in the server's spelling: shortest that reads back the same, or 17 digits before Redis 7.2."""
        if float(value).is_integer() and abs(value) < _PLAIN_INTEGER_MAX:
            return b"%d" % int(value)
        text = repr(value) if self.modern else f"{value:.17g}"
        return text.encode()


REDIS_7_0 = Flavour("redis", "Redis", "7.0.15", "7.0.15", modern=False, names_failed_script=True)
VALKEY_9 = Flavour("valkey", "Valkey", "9.1.2", "7.2.4", modern=True, names_failed_script=False)
