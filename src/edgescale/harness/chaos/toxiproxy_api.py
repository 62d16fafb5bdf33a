"""The control interface of a Toxiproxy, by way of toxiproxy-python. Nothing else imports that.

What the library lacks is added here. It keeps one server's address for the whole process: here, each call has its own.
It waits for ever: here, there is a timeout. It cannot change a toxic, takes proxies up and down in a way that is going
to be removed, does not say which toxic it has made, tells only three errors from success and goes through the HTTP
proxies of the environment. And it blocks, so that it is called in threads only.

Source: toxiproxy-python 0.1.1; Toxiproxy 2.12, "HTTP API".
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import quote

from edgescale.errors import ConfigError, Unavailable
from edgescale.harness.chaos.link import Target

try:
    import requests
    from toxiproxy import Proxy, Toxiproxy, exceptions
    from toxiproxy import api as library
    from toxiproxy import proxy as library_proxy
    from toxiproxy import server as library_server
except ImportError as error:
    raise ConfigError("toxiproxy-python is not installed: pip install edgescale[chaos]") from error

T = TypeVar("T")
# Longer than Toxiproxy takes for anything. Source: its `timeoutMiddleware`.
_TIMEOUT_S = 30.0
# Before that, proxies and toxics could not be changed by PATCH.
_VERSION_MIN = (2, 6)
_SERVER: ContextVar[Any] = ContextVar("_SERVER", default=library.APIConsumer)


class _Whose:
    """Stands where the library looks for its one address, and leads to that of whoever calls."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_SERVER.get(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_SERVER.get(), name, value)


library_proxy.APIConsumer = library_server.APIConsumer = _Whose()


class _Consumer(library.APIConsumer):  # type: ignore[misc] # the library is untyped
    """One server, and how it is asked.

    Attributes:
        host, port: the library's names.
        timeout_s: of a request.
    """

    timeout_s: float

    @classmethod
    def get(cls, url: str, params: Any = None, **options: Any) -> Any:
        return _checked(super().get(url, params, timeout=cls.timeout_s, proxies=_direct(), **options))

    @classmethod
    def post(cls, url: str, data: Any = None, json: Any = None, **options: Any) -> Any:
        return _checked(super().post(url, data, json, timeout=cls.timeout_s, proxies=_direct(), **options))

    @classmethod
    def delete(cls, url: str, **options: Any) -> Any:
        return _checked(super().delete(url, timeout=cls.timeout_s, proxies=_direct(), **options))

    @classmethod
    def patch(cls, url: str, body: Any) -> Any:
        endpoint = f"http://{cls.host}:{cls.port}{url}"
        response = requests.patch(endpoint, json=body, timeout=cls.timeout_s, proxies=_direct())
        return _checked(library.validate_response(response))


def _direct() -> Any:
    """Not by way of what HTTP_PROXY and ALL_PROXY name. Anew each time, for the rest of the environment is put in.

    Source: requests, Session.merge_environment_settings.
    """
    return {"http": None, "all": None}


def _checked(response: Any) -> Any:
    if not response.ok:
        raise requests.HTTPError(response.content)
    return response


class ToxiproxyApi:
    """What a Toxiproxy can be told.

    A call that has begun is waited for even where its caller is cancelled, and what it has made is unmade.

    Args:
        url: such as `http://127.0.0.1:8474`.
        timeout_s: of a call.

    Raises:
        ConfigError: the URL is none. By each method: it was told what makes no sense.
        Unavailable: by each method: it does not answer, or has forgotten what it was told.
    """

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.target = Target.parse(url)
        host, _, port = self.target.address.rpartition(":")
        own = {"host": host, "port": port, "timeout_s": timeout_s}
        self._consumer: Any = type("Consumer", (_Consumer,), own)
        self._library = Toxiproxy()

    async def version(self) -> str:
        """Of the server, such as `2.12.0`; `unknown` where it was built from source and does not know.

        Raises:
            ConfigError: it is too old.
        """
        said = await self._call(lambda: str(self._consumer.get("/version").text))
        number = re.search(r"(\d+)\.(\d+)[.\w-]*", said)
        if number is None:
            return "unknown"
        if (int(number[1]), int(number[2])) < _VERSION_MIN:
            raise ConfigError(f"toxiproxy: 2.6 or later is needed, and this is {number[0]}")
        return number[0]

    async def create(self, name: str, *, listen: str, upstream: str) -> str:
        """Make a proxy.

        Args:
            name: that nobody else has.
            listen: where clients connect, host and port.
            upstream: the server behind it, host and port.

        Returns:
            Where it listens.
        """
        made = await self._call(
            lambda: self._library.create(upstream=upstream, name=name, listen=listen),
            undo=lambda: self._consumer.delete(_path(name)),
        )
        return str(made.listen)

    async def remove(self, name: str) -> None:
        """Remove a proxy with its connections and toxics."""
        await self._call(lambda: self._consumer.delete(_path(name)))

    async def enable(self, name: str, *, enabled: bool) -> None:
        """Have a proxy listen, or close its listener and its connections."""
        await self._call(lambda: self._consumer.patch(_path(name), {"enabled": enabled}))

    async def add_toxic(
        self, name: str, toxic: str, *, kind: str, direction: str, attributes: Mapping[str, int]
    ) -> Mapping[str, int]:
        """Put a toxic in force.

        Args:
            name: of the proxy.
            toxic: a name for it that no other one of this proxy has.
            kind: such as `latency`.
            direction: upstream or downstream.
            attributes: of this kind.

        Returns:
            Its attributes as they are in force.
        """

        def add() -> Mapping[str, int]:
            proxy = _proxy(name)
            proxy.add_toxic(name=toxic, type=kind, stream=direction, attributes=dict(attributes))
            made = proxy.get_toxic(toxic)
            if made is None:
                raise exceptions.NotFound(f"{toxic} is gone")
            return dict(made.attributes)

        return await self._call(add, undo=lambda: _proxy(name).destroy_toxic(toxic))

    async def change_toxic(self, name: str, toxic: str, attributes: Mapping[str, int]) -> None:
        """Let a toxic go on with other attributes."""
        await self._call(lambda: self._consumer.patch(_path(name, toxic), {"attributes": dict(attributes)}))

    async def remove_toxic(self, name: str, toxic: str) -> None:
        """Heal a toxic."""
        await self._call(lambda: _proxy(name).destroy_toxic(toxic))

    async def _call(self, call: Callable[[], T], *, undo: Callable[[], object] = lambda: None) -> T:
        work = asyncio.ensure_future(asyncio.to_thread(self._speak, call))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            [outcome] = await asyncio.gather(work, return_exceptions=True)
            if not isinstance(outcome, BaseException):
                await asyncio.to_thread(self._speak, undo)
            raise

    def _speak(self, call: Callable[[], T]) -> T:
        # In the thread's copy of the context: nobody else is led elsewhere by it.
        _SERVER.set(self._consumer)
        with _translated(self.target.address):
            return call()


def _proxy(name: str) -> Any:
    """The library's handle; of what it holds, only the name is ever used."""
    return Proxy(name=quote(name, safe=""), upstream="", enabled=True, listen="")


def _path(name: str, toxic: str = "") -> str:
    proxy = f"/proxies/{quote(name, safe='')}"
    return f"{proxy}/toxics/{toxic}" if toxic else proxy


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Turns the errors of the library, of what it stands on, and of HTTP into ours."""
    where = f"Toxiproxy at {address}"
    try:
        yield
    except (exceptions.InvalidToxic, exceptions.ProxyExists) as refused:
        raise ConfigError(f"{where} refused: {_said(refused)}") from refused
    except exceptions.NotFound as lost:
        raise Unavailable(f"{where} has forgotten what it was told: {_said(lost)}") from lost
    except requests.HTTPError as failed:
        raise Unavailable(f"{where} failed: {_said(failed)}") from failed
    except (requests.RequestException, ValueError) as away:
        raise Unavailable(f"{where} does not answer as one: {type(away).__name__}") from away


def _said(error: Exception) -> str:
    """What the server said; the library hands on the bytes of its answer."""
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip()
