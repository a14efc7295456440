"""A WebSocket server on a free port, whose number it prints; says again what it hears.

"close" is answered with a close of its own; "many" with 100 numbered messages.
"""

import asyncio
import json

from websockets.asyncio.server import ServerConnection, serve


async def talk(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "close":
            return await connection.close(4001, "as you wish")
        if message == "many":
            for number in range(100):
                await connection.send(str(number))
        else:
            await connection.send(message)


async def main() -> None:
    async with serve(talk, "127.0.0.1", 0, subprotocols=["talk.v2", "talk.v1"]) as server:
        print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
