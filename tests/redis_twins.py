"""The model and a real server side by side: both are sent the same, and what they send back is compared.

What must differ from run to run is compared for what it says: ids that carry the time stand for each other once they
have met, times must be close, figures of a memory layout are left out.
"""

import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edgescale.harness.simulation.redis import Flavour, RedisModel, Session
from tests.redis_wire import Frame, decode, encode

SESSIONS = 4
_PATIENCE_S = 5.0
_POLL_S = 0.05
_CLOSE_MS = 20_000
_AUTO_ID = re.compile(rb"[0-9]{13}-[0-9]+")
_TIME_MS = re.compile(rb"[0-9]{13}")
_CLOCK_FIGURES = {b"idle", b"inactive"}
_LAYOUT_FIGURES = {b"radix-tree-keys", b"radix-tree-nodes", b"version", b"id", b"modules"}
_GIVE_IDS = {b"XADD", b"EVAL", b"EVALSHA", b"EXEC"}
_SHOWN_BYTES = 60
UNORDERED = {b"KEYS", b"SCAN", b"PUBSUB", b"UNSUBSCRIBE", b"CONFIG"}


@dataclass(frozen=True, slots=True)
class Ref:
    """A word that each server gave itself: an id of an entry, or of a client. Taken modulo how many there are."""

    kind: Literal["entry", "client", "address"]
    number: int


Word: TypeAlias = bytes | Ref


class Diverged(AssertionError):
    """The servers do not agree."""


class ModelSide:
    """The model, on the real clock but with timers that go off only when they are told to."""

    def __init__(self, flavour: Flavour) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.model = RedisModel(lambda: time.time_ns() // 1000, self._call_later, flavour=flavour)
        self.outputs = [bytearray() for _ in range(SESSIONS)]
        self.closed: set[int] = set()
        self.sessions: list[Session] = []
        self.connect()

    def connect(self) -> None:
        """Open all connections."""
        self.closed = set()
        self.sessions = [self._connect(number) for number in range(SESSIONS)]
        self._connect_control()

    def _connect_control(self) -> None:
        """One connection more, as the real side has; and again when it is killed."""
        if self.model.running:
            self.control = self.model.connect(lambda _data: None, self._connect_control)

    def _connect(self, number: int) -> Session:
        return self.model.connect(self.outputs[number].extend, lambda: self.closed.add(number))

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        timer = (delay_s, callback)
        self.timers.append(timer)
        return lambda: timer in self.timers and self.timers.remove(timer)  # type: ignore[func-returns-value,return-value]

    def send(self, number: int, data: bytes) -> None:
        self.sessions[number].feed(data)

    def let_time_pass(self, delay_s: float) -> None:
        """Let all timers go off that are not set for longer."""
        for timer in [timer for timer in self.timers if timer[0] <= delay_s]:
            if timer in self.timers:
                self.timers.remove(timer)
                timer[1]()


class RealSide:
    """A server behind real sockets, and one more connection that tells when it has done what it was sent."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._control = self._prepared()
        self.sockets: list[socket.socket] = []
        self.outputs: list[bytearray] = []
        self.closed: set[int] = set()

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _prepared(self) -> socket.socket:
        """A connection to a server that looks often enough whether the time of a read is up."""
        self._control = self._connected()
        self.ask(b"CONFIG", b"SET", b"hz", b"500")
        return self._control

    def begin(self) -> None:
        """Empty the server, and connect anew."""
        for connection in self.sockets:
            connection.close()
        self.settle()
        self.ask(b"CLIENT", b"UNPAUSE")
        self.ask(b"CONFIG", b"SET", b"maxmemory", b"0", b"appendfsync", b"everysec")
        self.ask(b"FLUSHALL")
        self.ask(b"SCRIPT", b"FLUSH")
        self.connect()

    def reconnect(self) -> None:
        """The server was started again."""
        self.close()
        self._control = self._prepared()
        self.connect()

    def connect(self) -> None:
        """Open all connections."""
        self.sockets = [self._connected() for _ in range(SESSIONS)]
        self.outputs = [bytearray() for _ in range(SESSIONS)]
        self.closed = set()
        for connection in self.sockets:
            connection.setblocking(False)

    def ask(self, *words: bytes) -> Frame:
        """The answer to a command of ours, which may have to be asked again: what kills clients may kill us."""
        received = b""
        try:
            self._control.sendall(encode(words))
            while data := self._control.recv(65536):
                received += data
                frames, _ = decode(received)
                if frames:
                    return frames[0]
        except ConnectionError:
            pass
        self._control.close()
        self._control = self._connected()
        return self.ask(*words)

    def settle(self) -> None:
        """Wait until all that was sent is done and answered.

        One turn of the server's loop may answer us before it answers the others; the next one may not.
        """
        self.ask(b"PING")
        self.ask(b"PING")

    def send(self, number: int, data: bytes) -> None:
        if number not in self.closed:
            try:
                self.sockets[number].sendall(data)
            except OSError:
                self.closed.add(number)

    def collect(self) -> None:
        """Take what has arrived."""
        for number, connection in enumerate(self.sockets):
            while number not in self.closed:
                try:
                    data = connection.recv(1 << 20)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self.closed.add(number)
                self.outputs[number] += data

    def close(self) -> None:
        for connection in [*self.sockets, self._control]:
            connection.close()


class Twins:
    """Both servers. Each step is checked as it is done."""

    def __init__(self, real: RealSide, flavour: Flavour) -> None:
        self.real = real
        self.model = ModelSide(flavour)
        self.trace: list[str] = []
        self._entries: list[tuple[bytes, bytes]] = []
        # Commands whose replies may be due.
        self._names: list[set[bytes]] = [set() for _ in range(SESSIONS)]
        self._known = 0
        self._gave_ids = False
        real.begin()
        self._clients = self._client_ids()

    def _client_ids(self) -> list[tuple[bytes, bytes]]:
        """Real and modelled id of each connection."""
        for number in range(SESSIONS):
            self.real.send(number, encode([b"CLIENT", b"ID"]))
            self.model.send(number, encode([b"CLIENT", b"ID"]))
        self.real.settle()
        self.real.collect()
        pairs = []
        for real, model in zip(self.real.outputs, self.model.outputs, strict=True):
            pairs.append((bytes(real[1:-2]), bytes(model[1:-2])))
            real.clear()
            model.clear()
        return pairs

    def step(self, number: int, *commands: Sequence[Word]) -> None:
        """Send commands on one connection, all at once, and compare what comes back on all of them.

        Raises:
            Diverged: it is not the same.
        """
        self.send(number, *commands)
        self.compare()

    def send(self, number: int, *commands: Sequence[Word]) -> None:
        """Send commands on one connection, all at once."""
        self.trace.append(f"{number}: " + "; ".join(str([_shortened(word) for word in words]) for words in commands))
        self._separate_ids({words[0] for words in commands})
        self._names[number] |= {words[0].upper() for words in commands if isinstance(words[0], bytes)}
        self.real.send(number, b"".join(encode([self._word(word, 0) for word in words]) for words in commands))
        self.model.send(number, b"".join(encode([self._word(word, 1) for word in words]) for words in commands))

    def control(self, *words: bytes) -> None:
        """Have both do something that is not asked by any of the connections, and compare what comes of it."""
        self.trace.append(f"control: {list(words)}")
        # Held back commands may give ids now.
        self._separate_ids({b"XADD"})
        self.real.ask(*words)
        self.model.control.feed(encode(words))
        self.compare()

    def _separate_ids(self, names: set[Word]) -> None:
        """Wait for the next millisecond if ids may have been given in this one, lest another stream gives them, too."""
        now_ms = time.time_ns() // 1_000_000
        while self._gave_ids and time.time_ns() // 1_000_000 == now_ms:
            pass
        self._known = len(self._entries)
        self._gave_ids = not names.isdisjoint(_GIVE_IDS)

    def _word(self, word: Word, side: int) -> bytes:
        if isinstance(word, bytes):
            return word
        if word.kind == "entry":
            return self._entries[word.number % len(self._entries)][side] if self._entries else b"7-7"
        if word.kind == "client":
            return self._clients[word.number % SESSIONS][side]
        if side:
            return self.model.sessions[word.number % SESSIONS].address.encode()
        name = self.real.sockets[word.number % SESSIONS].getsockname()
        return f"{name[0]}:{name[1]}".encode()

    def restart(self, start_real_again: Callable[[], None]) -> None:
        """End both as SIGKILL does, and start them again with what their append-only files hold."""
        # What a real server was told, it does not remember.
        self.control(b"CONFIG", b"SET", b"maxmemory", b"0")
        self.trace.append("restart")
        start_real_again()
        self.real.reconnect()
        self.model.model.restart()
        self.model.connect()
        self._clients = self._client_ids()
        self._names = [set() for _ in range(SESSIONS)]

    def let_time_pass(self, delay_s: float) -> None:
        """Let the waits run out, on both sides, of commands that block no longer than this."""
        self.trace.append(f"{delay_s} s pass")
        self.model.let_time_pass(delay_s)
        self.compare()

    def free(self, number: int) -> bool:
        """Whether the connection carries out at once what it is sent."""
        session = self.model.sessions[number]
        return session.blocked is None and session.queued is None and not session.closing

    def compare(self) -> None:
        """Compare all that arrived since the last time."""
        self.real.settle()
        modelled = [decode(bytes(output))[0] for output in self.model.outputs]
        for number, (real, model) in enumerate(zip(self._arrived(modelled), modelled, strict=True)):
            self._compare(number, real, model)
            if self.model.sessions[number].blocked is None:
                self._names[number] = set()
        for output in [*self.real.outputs, *self.model.outputs]:
            output.clear()
        if self.real.closed != self.model.closed:
            raise Diverged(f"closed: real {self.real.closed}, model {self.model.closed}\n" + "\n".join(self.trace))

    def _arrived(self, modelled: list[list[Frame]]) -> list[list[Frame]]:
        """What the real server sent; when that is less than the model did, after waiting for more."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            self.real.collect()
            arrived = [decode(bytes(output))[0] for output in self.real.outputs]
            complete = all(len(real) >= len(model) for real, model in zip(arrived, modelled, strict=True))
            if complete or time.monotonic() > give_up:
                return arrived
            select.select(self.real.sockets, [], [], _POLL_S)

    def _compare(self, number: int, real: list[Frame], model: list[Frame]) -> None:
        loose = bool(self._names[number] & {b"PTTL", b"TTL"})
        unordered = bool(self._names[number] & UNORDERED)
        for at, (one, other) in enumerate(zip(real, model, strict=False)):
            # Which of the replies is the one in any order is not known.
            same = self._same(one, other, loose=loose) or (unordered and self._same(one, other, unordered=True))
            if not same:
                raise Diverged(
                    "\n".join([*self.trace, f"connection {number}, reply {at}", f"real:  {one}", f"model: {other}"])
                )
        if len(real) != len(model):
            raise Diverged("\n".join([*self.trace, f"connection {number}", f"real:  {real}", f"model: {model}"]))

    def _same(self, real: Frame, model: Frame, *, loose: bool = False, unordered: bool = False) -> bool:
        if real.sign != model.sign:
            return False
        if isinstance(real.value, list) and isinstance(model.value, list):
            return self._same_items(real.value, model.value, unordered=unordered)
        if isinstance(real.value, bytes) and isinstance(model.value, bytes):
            if real.sign == ":" and loose:
                return _close(real.value, model.value)
            return self._same_text(real.value, model.value)
        return real.value is None and model.value is None

    def _same_items(self, real: list[Frame], model: list[Frame], *, unordered: bool) -> bool:
        if len(real) != len(model):
            return False
        if unordered:
            real, model = sorted(real, key=repr), sorted(model, key=repr)
        # One row of XPENDING: entry, owner, idle time, deliveries.
        is_row = "".join(item.sign for item in real) == "$$::"
        label: Any = None
        for at, (one, other) in enumerate(zip(real, model, strict=True)):
            if label in _LAYOUT_FIGURES:
                same = one.sign == other.sign
            else:
                clock = label in _CLOCK_FIGURES or (is_row and at == 2)
                same = self._same(one, other, loose=clock, unordered=unordered)
            if not same:
                return False
            label = one.value if one.sign in "$+" else None
        return True

    def _same_text(self, real: bytes, model: bytes) -> bool:
        if _AUTO_ID.fullmatch(real) and _AUTO_ID.fullmatch(model):
            return self._same_entry((real, model))
        if _TIME_MS.fullmatch(real) and _TIME_MS.fullmatch(model):
            return _close(real, model)
        return real == model

    def _same_entry(self, pair: tuple[bytes, bytes]) -> bool:
        """Whether two ids stand for the same entry: they met before, or both are new in this step."""
        if pair in self._entries:
            return True
        if any(pair[0] == known[0] or pair[1] == known[1] for known in self._entries[: self._known]):
            return False
        self._entries.append(pair)
        return True


def _shortened(word: Word) -> Word:
    return word[:_SHOWN_BYTES] if isinstance(word, bytes) else word


def _close(real: bytes, model: bytes) -> bool:
    """Whether two times are close; below zero they stand for something else."""
    one, other = int(real), int(model)
    return one == other if min(one, other) < 0 else abs(one - other) < _CLOSE_MS
