"""A gRPC server on a free port, whose number it prints: one method of each kind, bytes in and bytes out."""

import json
import threading
from concurrent import futures

import grpc


def echo(request, context):
    asked = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-length", str(len(request))), ("x-heard", asked.get("x-said", ""))))
    return request


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def total(requests, context):
    return str(sum(int(request) for request in requests)).encode()


def chat(requests, context):
    for request in requests:
        yield request.upper()


def wait(request, context):
    """Answers when the caller has given up, and says so."""
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(60)
    print(json.dumps("given up"), flush=True)
    return b""


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


KINDS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Once": grpc.unary_unary_rpc_method_handler(echo),
}

if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("sample.Talk", KINDS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps(port), flush=True)
    server.wait_for_termination()
