"""Rules: what may become of packets, as small functions that can be put in force together; see `network`."""

from collections.abc import Callable
from random import Random  # noqa: TID251 - drawn from the simulation's seed

from edgescale.harness.simulation.packets import Packet, Rule, Verdict

Link = tuple[str, str]
Aim = Callable[[bytes], bool]
ANYBODY = "*"


def _goes(source: str, target: str, packet: Packet) -> bool:
    return packet.source in {source, packet.source if source == ANYBODY else source} and (
        target in {ANYBODY, packet.target}
    )


def _on(link: Link, packet: Packet) -> bool:
    one, other = link
    return _goes(one, other, packet) or _goes(other, one, packet)


def delay(link: Link, low_s: float, high_s: float, rng: Random) -> Rule:
    """Everything takes longer."""
    return lambda packet: rng.uniform(low_s, high_s) if _on(link, packet) else None


def black_hole(link: Link) -> Rule:
    """Nothing arrives."""
    return lambda packet: Verdict.HOLD if _on(link, packet) else None


def one_way(source: str, target: str) -> Rule:
    """Nothing arrives in one direction."""
    return lambda packet: Verdict.HOLD if _goes(source, target, packet) else None


def refuse(link: Link) -> Rule:
    """New connections are reset."""
    return lambda packet: Verdict.RESET if _on(link, packet) and not packet.data and not packet.number else None


def slow_drip(link: Link, bytes_per_s: float) -> Rule:
    """Bytes take their time."""
    return lambda packet: len(packet.data) / bytes_per_s if _on(link, packet) else None


def cut_after_command(link: Link, aim: Aim, times: int) -> Rule:
    """A command is carried out, and the connection is reset before its reply."""
    left, armed = times, False

    def rule(packet: Packet) -> Verdict | float | None:
        nonlocal left, armed
        if _goes(*link, packet) and left and packet.data and aim(packet.data):
            armed = True
        elif armed and _goes(link[1], link[0], packet):
            armed, left = False, left - 1
            return Verdict.RESET
        return None

    return rule


def lose_request(link: Link, aim: Aim, times: int) -> Rule:
    """The connection is reset before a command arrives."""
    left = times

    def rule(packet: Packet) -> Verdict | float | None:
        nonlocal left
        if left and _goes(*link, packet) and packet.data and aim(packet.data):
            left -= 1
            return Verdict.RESET
        return None

    return rule
