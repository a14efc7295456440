"""What the scripts of both SDKs have in common: how they are told what to do, and how they say what they find.

A script gets a list of tasks as its argument: [{"way": "ask", "base": "https://…", "key": "…"}, …]
Options: "times" (1), "retries" (0), "http2" (false), "pad": bytes added to the question (0).
The CA is the one in SSL_CERT_FILE.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType


def main(library: ModuleType, name: str, ways: dict[str, Callable], together: Callable[..., Awaitable]) -> None:
    """Does every task with `library`, whose client is called `name`; `together` is the way of many at once."""
    for options in json.loads(sys.argv[1]):
        options = {"times": 1, "retries": 0, "http2": False, "pad": 0, **options}
        if options["way"] == "together":
            asyncio.run(at_once(library, name, together, options))
        else:
            alone(library, name, ways[options["way"]], options)


def alone(library: ModuleType, name: str, way: Callable, options: dict) -> None:
    """The synchronous client, one call after the other."""
    connections = library.DefaultHttpxClient(http2=options["http2"])
    with getattr(library, name)(**settings(options), http_client=connections) as client:
        for _ in range(options["times"]):
            try:
                way(client, options)
            except library.APIError as error:
                say(facts(error))


async def at_once(library: ModuleType, name: str, ask: Callable[..., Awaitable], options: dict) -> None:
    """Many questions at once, from the asynchronous client."""
    connections = library.DefaultAsyncHttpxClient(http2=options["http2"])
    async with getattr(library, "Async" + name)(**settings(options), http_client=connections) as client:
        questions = ([{"role": "user", "content": str(index)}] for index in range(options["times"]))
        say(await asyncio.gather(*(ask(client, messages) for messages in questions)))


def settings(options: dict) -> dict:
    return {
        "base_url": options["base"],
        "api_key": options["key"],
        "max_retries": options["retries"],
        "timeout": 60,
    }


def question(options: dict) -> list:
    return [{"role": "user", "content": "Say hello." + "." * options["pad"]}]


def facts(error: Exception) -> dict:
    """What an application finds in an error."""
    response = getattr(error, "response", None)
    return {
        "error": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "type": getattr(error, "type", None),
        "request_id": getattr(error, "request_id", None),
        "retry_after": response and response.headers.get("retry-after"),
    }


def say(value: object) -> None:
    """One line, at once."""
    print(json.dumps(value), flush=True)
