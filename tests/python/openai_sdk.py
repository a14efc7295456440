"""Uses the official OpenAI SDK the way an application does, and prints what it finds, one JSON value a line.

Usage: openai_sdk.py '[{"way": "ask", "base": "https://…/v1", "key": "…"}, …]'
Options: "times" (1), "retries" (0), "http2" (false), "pad": bytes added to the question (0).
The CA is the one in SSL_CERT_FILE.
"""

import asyncio
import json
import sys

import openai

MODEL = "gpt-4o-mini"


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
    ways = {"ask": ask, "stream": stream, "end": end, "leave": leave, "respond": respond, "upload": upload, "models": models}
    connections = openai.DefaultHttpxClient(http2=options["http2"])
    with openai.OpenAI(**settings(options), http_client=connections) as client:
        for _ in range(options["times"]):
            try:
                ways[options["way"]](client, options)
            except openai.APIError as error:
                say(facts(error))


def say(value: object) -> None:
    """One line, at once."""
    print(json.dumps(value), flush=True)


def question(options: dict) -> list:
    return [{"role": "user", "content": "Say hello." + "." * options["pad"]}]


def facts(error: openai.APIError) -> dict:
    """What an application finds in an error."""
    response = getattr(error, "response", None)
    return {
        "error": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": error.code,
        "type": error.type,
        "request_id": getattr(error, "request_id", None),
        "retry_after": response and response.headers.get("retry-after"),
    }


def ask(client: openai.OpenAI, options: dict) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=question(options))
    say(
        {
            "text": answer.choices[0].message.content,
            "tokens": answer.usage.total_tokens,
            "request_id": answer._request_id,
        }
    )


def stream(client: openai.OpenAI, options: dict) -> None:
    """Each piece as soon as it is there, then the usage."""
    chunks = client.chat.completions.create(
        model=MODEL, messages=question(options), stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        say(chunk.choices[0].delta.content if chunk.choices else {"tokens": chunk.usage.total_tokens})


def end(client: openai.OpenAI, options: dict) -> None:
    """How many pieces of a stream came, and why it ended."""
    pieces, finish = 0, None
    for chunk in client.chat.completions.create(model=MODEL, messages=question(options), stream=True):
        for choice in chunk.choices:
            pieces += bool(choice.delta.content)
            finish = choice.finish_reason or finish
    say({"pieces": pieces, "finish": finish})


def leave(client: openai.OpenAI, options: dict) -> None:
    """Takes one piece and closes the stream."""
    chunks = client.chat.completions.create(model=MODEL, messages=question(options), stream=True)
    say(next(iter(chunks)).choices[0].delta.content)
    chunks.close()


def respond(client: openai.OpenAI, options: dict) -> None:
    """The Responses API: its events have names."""
    with client.responses.create(model=MODEL, input="Say hello.", stream=True) as events:
        for event in events:
            say([event.type, getattr(event, "delta", None)])


def upload(client: openai.OpenAI, options: dict) -> None:
    """A multipart form."""
    content = b"x" * options["pad"]
    say({"id": client.files.create(file=("notes.txt", content), purpose="assistants").id})


def models(client: openai.OpenAI, options: dict) -> None:
    say([model.id for model in client.models.list()])


async def together(options: dict) -> None:
    """Many questions at once, from the asynchronous client."""
    connections = openai.DefaultAsyncHttpxClient(http2=options["http2"])
    async with openai.AsyncOpenAI(**settings(options), http_client=connections) as client:

        async def one(index: int) -> str:
            messages = [{"role": "user", "content": str(index)}]
            answer = await client.chat.completions.create(model=MODEL, messages=messages)
            return answer.choices[0].message.content

        say(await asyncio.gather(*(one(index) for index in range(options["times"]))))


if __name__ == "__main__":
    main()
