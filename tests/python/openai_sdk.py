"""Uses the official OpenAI SDK the way an application does.

Usage: openai_sdk.py plain|stream|errors BASE_URL KEY CA_FILE
"""

import ssl
import sys

import openai

MESSAGES = [{"role": "user", "content": "Say hello."}]


def main() -> None:
    way, base_url, key, ca_file = sys.argv[1:]
    trust = ssl.create_default_context(cafile=ca_file)
    client = openai.OpenAI(
        base_url=base_url,
        api_key=key,
        max_retries=0,
        timeout=20,
        http_client=openai.DefaultHttpxClient(verify=trust),
    )
    {"plain": plain, "stream": stream, "errors": errors}[way](client)


def plain(client: openai.OpenAI) -> None:
    """Prints the answer and its usage."""
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    print(answer.choices[0].message.content)
    print(answer.usage.total_tokens)


def stream(client: openai.OpenAI) -> None:
    """Prints each piece, quoted, as soon as it is there."""
    chunks = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    for chunk in chunks:
        print(f'"{chunk.choices[0].delta.content}"', flush=True)


def errors(client: openai.OpenAI) -> None:
    """Asks twice and prints the error that each raises, with what the SDK finds in it."""
    for _ in range(2):
        try:
            client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        except openai.APIStatusError as error:
            wait = error.response.headers.get("retry-after", "-")
            print(type(error).__name__, error.status_code, error.code, wait)
        else:
            print("no error")


if __name__ == "__main__":
    main()
