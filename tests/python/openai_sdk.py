"""Uses the official OpenAI SDK the way an application does, and prints what it finds, one JSON value a line.

Usage: openai_sdk.py '[{"way": "ask", "base": "https://…/v1", "key": "…"}, …]'; see sdk.py.
"""

import openai

import sdk
from sdk import question, say

MODEL = "gpt-4o-mini"


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


async def together(client: openai.AsyncOpenAI, messages: list) -> str:
    answer = await client.chat.completions.create(model=MODEL, messages=messages)
    return answer.choices[0].message.content


if __name__ == "__main__":
    ways = {"ask": ask, "stream": stream, "end": end, "leave": leave, "respond": respond, "upload": upload, "models": models}
    sdk.main(openai, "OpenAI", ways, together)
