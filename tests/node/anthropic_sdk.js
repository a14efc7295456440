// Uses the official Anthropic SDK the way an application does, and prints what it finds, one JSON value a line.
//
// Usage: anthropic_sdk.js '[{"way": "ask", "base": "https://…", "key": "…"}, …]'
// Options: "times" (1), "retries" (0), "http2" (false), "pad": bytes added to the question (0).
// The CA is the one in NODE_EXTRA_CA_CERTS.

import Anthropic from "@anthropic-ai/sdk";

import { each, settings, say } from "./speech.js";

function question(options) {
  const content = "Say hello." + ".".repeat(options.pad);
  return { model: "claude-opus-4-8", messages: [{ role: "user", content }] };
}

const ways = {
  async ask(client, options) {
    const answer = await client.messages.create({ ...question(options), max_tokens: 100 });
    say({
      text: answer.content[0].text,
      tokens: answer.usage.output_tokens,
      request_id: answer._request_id ?? null,
    });
  },

  // Each piece as soon as it is there, then what the SDK made of the whole.
  async stream(client, options) {
    const events = client.messages.stream({ ...question(options), max_tokens: 100 });
    for await (const event of events) {
      if (event.type === "content_block_delta") say(event.delta.text);
    }
    const whole = await events.finalMessage();
    say({ text: whole.content[0].text, tokens: whole.usage.output_tokens, stop: whole.stop_reason });
  },

  // How many pieces of a stream came, and why it ended.
  async end(client, options) {
    const events = await client.messages.create({ ...question(options), max_tokens: 100, stream: true });
    let [pieces, finish] = [0, null];
    for await (const event of events) {
      pieces += event.type === "content_block_delta" ? 1 : 0;
      if (event.type === "message_delta") finish = event.delta.stop_reason;
    }
    say({ pieces, finish });
  },

  // Takes one piece and leaves the stream.
  async leave(client, options) {
    const events = client.messages.stream({ ...question(options), max_tokens: 100 });
    for await (const event of events) {
      if (event.type !== "content_block_delta") continue;
      say(event.delta.text);
      break;
    }
  },

  async count(client, options) {
    say({ tokens: (await client.messages.countTokens(question(options))).input_tokens });
  },

  // Many questions at once.
  async together(client, options) {
    const one = async (_, index) => {
      const answer = await client.messages.create({
        ...question(options),
        max_tokens: 100,
        messages: [{ role: "user", content: String(index) }],
      });
      return answer.content[0].text;
    };
    say(await Promise.all(Array.from({ length: options.times }, one)));
  },
};

await each(async (options) => {
  const client = new Anthropic(settings(options));
  try {
    await ways[options.way](client, options);
  } catch (error) {
    if (!(error instanceof Anthropic.APIError)) throw error;
    say({
      error: error.constructor.name,
      status: error.status ?? null,
      type: error.type ?? null,
      request_id: error.requestID ?? null,
      retry_after: error.headers?.get("retry-after") ?? null,
    });
  }
});
