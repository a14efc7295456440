"""Uses the official Anthropic SDK the way an application does, and prints what it finds, one JSON value a line.

Usage: anthropic_sdk.py '[{"way": "ask", "base": "https://…", "key": "…"}, …]'; see sdk.py.
"""

import anthropic

import sdk
from sdk import question, say

MODEL = "claude-opus-4-8"


def ask(client: anthropic.Anthropic, options: dict) -> None:
    answer = client.messages.create(max_tokens=100, model=MODEL, messages=question(options))
    say({"text": answer.content[0].text, "tokens": answer.usage.output_tokens, "request_id": answer._request_id})


def stream(client: anthropic.Anthropic, options: dict) -> None:
    """Each piece as soon as it is there, then what the SDK made of the whole."""
    with client.messages.stream(max_tokens=100, model=MODEL, messages=question(options)) as events:
        for text in events.text_stream:
            say(text)
        whole = events.get_final_message()
    say({"text": whole.content[0].text, "tokens": whole.usage.output_tokens, "stop": whole.stop_reason})


def end(client: anthropic.Anthropic, options: dict) -> None:
    """How many pieces of a stream came, and why it ended."""
    with client.messages.stream(max_tokens=100, model=MODEL, messages=question(options)) as events:
        pieces = sum(1 for _ in events.text_stream)
        whole = events.get_final_message()
    say({"pieces": pieces, "finish": whole.stop_reason})


def leave(client: anthropic.Anthropic, options: dict) -> None:
    """Takes one piece and leaves the stream."""
    with client.messages.stream(max_tokens=100, model=MODEL, messages=question(options)) as events:
        say(next(iter(events.text_stream)))


def count(client: anthropic.Anthropic, options: dict) -> None:
    say({"tokens": client.messages.count_tokens(model=MODEL, messages=question(options)).input_tokens})


async def together(client: anthropic.AsyncAnthropic, messages: list) -> str:
    answer = await client.messages.create(model=MODEL, max_tokens=100, messages=messages)
    return answer.content[0].text


if __name__ == "__main__":
    sdk.main(anthropic, "Anthropic", {"ask": ask, "stream": stream, "end": end, "leave": leave, "count": count}, together)
