"""Uses the official Anthropic SDK the way an application does, and prints what it finds, one JSON value a line.

Usage: anthropic_sdk.py '[{"way": "ask", "base": "https://…", "key": "…"}, …]'
Options: "times" (1), "retries" (0), "http2" (false), "pad": bytes added to the question (0).
The CA is the one in SSL_CERT_FILE.
"""

import asyncio
import json
import sys

import anthropic

MODEL = "claude-opus-4-8"


def main() -> None:
    for options in json.loads(sys.argv[1]):
        options = {"times": 1, "retries": 0, "http2": False, "pad": 0, **options}
        if options["way"] == "together":
            asyncio.run(together(options))
        else:
            alone(options)


def settings(options: dict) -> dict:
    return {
        "base_url": options["base"],
        "api_key": options["key"],
        "max_retries": options["retries"],
        "timeout": 60,
    }


def alone(options: dict) -> None:
    """The synchronous client, one call after the other."""
    ways = {"ask": ask, "stream": stream, "end": end, "leave": leave, "count": count}
    connections = anthropic.DefaultHttpxClient(http2=options["http2"])
    with anthropic.Anthropic(**settings(options), http_client=connections) as client:
        for _ in range(options["times"]):
            try:
                ways[options["way"]](client, options)
            except anthropic.APIError as error:
                say(facts(error))


def say(value: object) -> None:
    """One line, at once."""
    print(json.dumps(value), flush=True)


def question(options: dict) -> dict:
    content = "Say hello." + "." * options["pad"]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]}


def facts(error: anthropic.APIError) -> dict:
    """What an application finds in an error."""
    response = getattr(error, "response", None)
    return {
        "error": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "type": getattr(error, "type", None),
        "request_id": getattr(error, "request_id", None),
        "retry_after": response and response.headers.get("retry-after"),
    }


def ask(client: anthropic.Anthropic, options: dict) -> None:
    answer = client.messages.create(max_tokens=100, **question(options))
    say({"text": answer.content[0].text, "tokens": answer.usage.output_tokens, "request_id": answer._request_id})


def stream(client: anthropic.Anthropic, options: dict) -> None:
    """Each piece as soon as it is there, then what the SDK made of the whole."""
    with client.messages.stream(max_tokens=100, **question(options)) as events:
        for text in events.text_stream:
            say(text)
        whole = events.get_final_message()
    say({"text": whole.content[0].text, "tokens": whole.usage.output_tokens, "stop": whole.stop_reason})


def end(client: anthropic.Anthropic, options: dict) -> None:
    """How many pieces of a stream came, and why it ended."""
    with client.messages.stream(max_tokens=100, **question(options)) as events:
        pieces = sum(1 for _ in events.text_stream)
        whole = events.get_final_message()
    say({"pieces": pieces, "finish": whole.stop_reason})


def leave(client: anthropic.Anthropic, options: dict) -> None:
    """Takes one piece and leaves the stream."""
    with client.messages.stream(max_tokens=100, **question(options)) as events:
        say(next(iter(events.text_stream)))


def count(client: anthropic.Anthropic, options: dict) -> None:
    say({"tokens": client.messages.count_tokens(**question(options)).input_tokens})


async def together(options: dict) -> None:
    """Many questions at once, from the asynchronous client."""
    connections = anthropic.DefaultAsyncHttpxClient(http2=options["http2"])
    async with anthropic.AsyncAnthropic(**settings(options), http_client=connections) as client:

        async def one(index: int) -> str:
            messages = [{"role": "user", "content": str(index)}]
            answer = await client.messages.create(model=MODEL, max_tokens=100, messages=messages)
            return answer.content[0].text

        say(await asyncio.gather(*(one(index) for index in range(options["times"]))))


if __name__ == "__main__":
    main()
