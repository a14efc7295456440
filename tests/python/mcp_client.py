"""Uses an MCP server the way an application does, and prints what it finds, one JSON value a line.

Usage: mcp_client.py legacy|auto URL KEY
`legacy` has sessions (initialize, a stream for notifications, DELETE); `auto` speaks the newest version that
both know. The CA is the one in SSL_CERT_FILE.
"""

import asyncio
import json
import sys

import httpx2
import mcp
from mcp.client.streamable_http import streamable_http_client


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


async def main() -> None:
    mode, url, key = sys.argv[1:]
    changed = asyncio.Event()

    async def hear(message: object) -> None:
        if "ToolListChanged" in repr(message):
            changed.set()

    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=60)) as connections:
        transport = streamable_http_client(url, http_client=connections)
        async with mcp.Client(transport, mode=mode, message_handler=hear) as client:
            await use(client, changed if mode == "legacy" else None)


async def use(client: mcp.Client, changed: asyncio.Event | None) -> None:
    tools = await client.list_tools()
    say({"tools": sorted(tool.name for tool in tools.tools)})
    say({"add": text(await client.call_tool("add", {"a": 2, "b": 3}))})

    async def progress(done: float, total: float | None, message: str | None) -> None:
        say({"progress": message})

    say({"count": text(await client.call_tool("count", {"to": 3}, progress_callback=progress))})
    if changed is not None:
        say({"nap": text(await client.call_tool("nap", {}))})
        await client.call_tool("grow", {})
        await asyncio.wait_for(changed.wait(), 30)
        say({"notified": "tools"})


def text(result: mcp.types.CallToolResult) -> str:
    return result.content[0].text


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except* (httpx2.HTTPError, mcp.MCPError) as group:
        error = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        say({"error": type(error).__name__, "message": str(error)})
