"""Uses a WebSocket the way an application does, and prints what it finds, one JSON value a line.

Usage: websocket_client.py URL KEY
The CA is the one in SSL_CERT_FILE.
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


async def main() -> None:
    url, key = sys.argv[1:]
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    options = {"additional_headers": {"X-API-Key": key}, "subprotocols": ["talk.v1"], "ssl": trust}
    try:
        async with connect(url, **options) as connection:
            await talk(connection)
    except InvalidStatus as refused:
        body = json.loads(refused.response.body)
        say({"status": refused.response.status_code, "code": body["error_code"]})


async def talk(connection) -> None:
    say({"protocol": connection.subprotocol})
    await connection.send("hello")
    say({"text": await connection.recv()})
    await connection.send(bytes(range(256)) * 2000)
    say({"bytes": len(await connection.recv())})
    await connection.send(["in ", "three ", "pieces"])
    say({"text": await connection.recv()})
    await connection.send("many")
    say({"many": [int(await connection.recv()) for _ in range(100)] == list(range(100))})
    await (await connection.ping())
    say({"pong": True})
    await connection.send("close")
    try:
        await connection.recv()
    except ConnectionClosed as closed:
        say({"closed": closed.rcvd.code, "reason": closed.rcvd.reason})


if __name__ == "__main__":
    asyncio.run(main())
