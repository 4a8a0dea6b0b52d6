"""An embedder behind HTTP, as OpenAI and many others speak it: POST {url}/embeddings.

Floor 2, under embedding.py. httpx is an extra, imported where an endpoint is asked. The key comes from the environment,
goes into one header and nowhere else. A refusal that may pass (429, 5xx) is tried again twice, after as long as the
server asks for, where that is no longer than an answer may take.
"""

import os
from collections.abc import Mapping, Sequence
from time import monotonic

from pgops.embedder_settings import EmbedderSettings
from pgops.errors import EmbedderError, UnavailableError, UsageError
from pgops.pause import async_pause
from pgops.services.embedder_answer import TRY_AGAIN, refusal, retry_after, vectors

ATTEMPTS = 3
FIRST_PAUSE_S = 0.5
MOST_BYTES_A_TEXT = 16_000 * 32


class AsyncHttpEmbedder:
    """One endpoint, over one client's connections; `async with` it."""

    def __init__(self, settings: EmbedderSettings, env: Mapping[str, str] = os.environ) -> None:
        """Raises UsageError where the variable of the key holds none, UnavailableError without httpx."""
        self._settings = settings
        self._key = _key(settings, env)
        try:
            import httpx
        except ImportError as error:
            raise UnavailableError(
                f"embedder {settings.name} needs httpx, which is not installed", "run: pip install 'pgops[embedders]'"
            ) from error
        try:
            self._client = httpx.AsyncClient(timeout=settings.timeout_s)
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise EmbedderError(
                f"embedder {settings.name} cannot be asked: no client for it", "check HTTPS_PROXY and ALL_PROXY"
            ) from error

    async def __aenter__(self) -> "AsyncHttpEmbedder":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """The vectors of `texts`, in their order. Raises EmbedderError."""
        settings = self._settings
        body: dict[str, object] = {"model": settings.model, "input": [*texts]}
        if settings.dimensions is not None:
            body["dimensions"] = settings.dimensions
        attempt = 0
        while True:
            status, content, after_s = await self._post(body, len(texts))
            if 200 <= status < 300:
                return vectors(settings, content, len(texts))
            pause_s = FIRST_PAUSE_S * 2**attempt if after_s is None else after_s
            attempt += 1
            if status not in TRY_AGAIN or attempt == ATTEMPTS or pause_s > settings.timeout_s:
                raise refusal(settings, status, content, key=self._key, attempts=attempt, after_s=after_s)
            await async_pause(pause_s)

    async def _post(self, body: Mapping[str, object], texts: int) -> tuple[int, bytes, float | None]:
        """Status, content and Retry-After of one answer."""
        import httpx

        settings = self._settings
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        until, most = monotonic() + settings.timeout_s, texts * MOST_BYTES_A_TEXT + 65_536
        content = bytearray()
        try:
            async with self._client.stream(
                "POST", f"{(settings.url or '').rstrip('/')}/embeddings", json=body, headers=headers
            ) as answer:
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if monotonic() > until:
                        raise _late(settings)
                    if len(content) > most:
                        raise EmbedderError(
                            f"embedder {settings.name} answered with more than vectors can be", "check url and model"
                        )
                return answer.status_code, bytes(content), retry_after(answer.headers.get("retry-after"))
        except httpx.TimeoutException as error:
            raise _late(settings) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EmbedderError(
                f"embedder {settings.name} gave no whole answer: {str(error) or type(error).__name__}",
                f"can {settings.url} be reached from here?",
            ) from error


def _late(settings: EmbedderSettings) -> EmbedderError:
    return EmbedderError(
        f"embedder {settings.name} gave no answer within {settings.timeout_s:g} s",
        f"can {settings.url} be reached from here? timeout_s and batch of [embedders.{settings.name}] can be changed",
    )


def _key(settings: EmbedderSettings, env: Mapping[str, str]) -> str:
    """The key, "" where the embedder takes none."""
    name = settings.api_key_env
    if name is None:
        return ""
    key = env.get(name, "").strip()
    if not key:
        raise UsageError(f"embedder {settings.name} takes its key from {name}, which is not set", f"export {name}=…")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"what {name} holds is no key: it has characters that no header can", f"export {name} anew")
    return key
