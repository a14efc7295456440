"""An MCP server on a free port, whose number it prints; made with the official SDK, streams can be resumed."""

import asyncio
import json
import socket

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore

server = MCPServer("sample")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Reports each number on the way."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"at {number}")
    return "counted"


@server.tool()
async def nap(ctx: Context) -> str:
    """Closes the stream that its answer is awaited on, and answers all the same."""
    await ctx.report_progress(1, 2, "going to sleep")
    await ctx.close_sse_stream()
    await ctx.report_progress(2, 2, "awake")
    return "slept"


@server.tool()
async def grow(ctx: Context) -> str:
    """Tells everyone that there are new tools."""
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


class Memory(EventStore):
    """Every event of every stream, in order."""

    def __init__(self) -> None:
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream_id = self.events[last - 1][0]
        for index, (stream, message) in enumerate(self.events[last:], last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(index)))
        return stream_id


async def main() -> None:
    app = server.streamable_http_app(event_store=Memory(), retry_interval=50)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(json.dumps(listener.getsockname()[1]), flush=True)
    # A stream may be open when the test is over.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
