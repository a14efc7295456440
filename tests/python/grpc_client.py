"""Uses a gRPC service the way an application does, and prints what it finds, one JSON value a line.

Usage: grpc_client.py ADDRESS KEY
The CA is the one in SSL_CERT_FILE.
"""

import json
import os
import queue
import sys

import grpc


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


def main() -> None:
    address, key = sys.argv[1:]
    with open(os.environ["SSL_CERT_FILE"], "rb") as file:
        trust = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(address, trust) as channel:
        talk(channel, (("x-api-key", key), ("x-said", "hi")))


def talk(channel: grpc.Channel, metadata: tuple) -> None:
    options = {"metadata": metadata, "timeout": 60}
    echo = channel.unary_unary("/sample.Talk/Echo")
    try:
        answer, call = echo.with_call(b"x" * 1_000_000, **options)
    except grpc.RpcError as error:
        return say(refusal(error))
    trailers = dict(call.trailing_metadata())
    say({"echo": len(answer), "length": trailers["x-length"], "heard": trailers["x-heard"]})

    numbers = channel.unary_stream("/sample.Talk/Count")(b"500", **options)
    say({"count": [int(number) for number in numbers] == list(range(500))})

    total = channel.stream_unary("/sample.Talk/Total")
    say({"total": int(total((str(number).encode() for number in range(500)), **options))})
    say({"chat": chat(channel, options)})

    for name, wait in [("Wait", 1), ("Fail", 60), ("None", 60), ("Once", 60), ("Once", 60)]:
        try:
            channel.unary_unary(f"/sample.Talk/{name}")(b"", metadata=metadata, timeout=wait)
            say({name: "answered"})
        except grpc.RpcError as error:
            say({name: refusal(error)})


def chat(channel: grpc.Channel, options: dict) -> list:
    """Each word is said when the answer to the one before is there."""
    words, said = ["one", "two", "three"], queue.SimpleQueue()
    said.put(b"zero")
    heard = []
    for answer in channel.stream_stream("/sample.Talk/Chat")(iter(said.get, None), **options):
        heard.append(answer.decode())
        said.put(words.pop(0).encode() if words else None)
    return heard


def refusal(error: grpc.RpcError) -> dict:
    return {"code": error.code().name, "details": error.details()}


if __name__ == "__main__":
    main()
