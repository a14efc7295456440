// Uses the official OpenAI SDK the way an application does, and prints what it finds, one JSON value a line.
//
// Usage: openai_sdk.js '[{"way": "ask", "base": "https://…/v1", "key": "…"}, …]'
// Options: "times" (1), "retries" (0), "http2" (false), "pad": bytes added to the question (0).
// The CA is the one in NODE_EXTRA_CA_CERTS.

import OpenAI, { toFile } from "openai";

import { each, settings, say } from "./speech.js";

const model = "gpt-4o-mini";

function question(options) {
  return [{ role: "user", content: "Say hello." + ".".repeat(options.pad) }];
}

const ways = {
  async ask(client, options) {
    const answer = await client.chat.completions.create({ model, messages: question(options) });
    say({
      text: answer.choices[0].message.content,
      tokens: answer.usage.total_tokens,
      request_id: answer._request_id,
    });
  },

  // Each piece as soon as it is there, then the usage.
  async stream(client, options) {
    const chunks = await client.chat.completions.create({
      model,
      messages: question(options),
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of chunks) {
      say(chunk.choices.length ? chunk.choices[0].delta.content : { tokens: chunk.usage.total_tokens });
    }
  },

  // How many pieces of a stream came, and why it ended.
  async end(client, options) {
    const chunks = await client.chat.completions.create({ model, messages: question(options), stream: true });
    let [pieces, finish] = [0, null];
    for await (const chunk of chunks) {
      for (const choice of chunk.choices) {
        pieces += choice.delta.content ? 1 : 0;
        finish = choice.finish_reason ?? finish;
      }
    }
    say({ pieces, finish });
  },

  // Takes one piece and closes the stream.
  async leave(client, options) {
    const chunks = await client.chat.completions.create({ model, messages: question(options), stream: true });
    for await (const chunk of chunks) {
      say(chunk.choices[0].delta.content);
      break;
    }
  },

  // The Responses API: its events have names.
  async respond(client) {
    const events = await client.responses.create({ model, input: "Say hello.", stream: true });
    for await (const event of events) say([event.type, event.delta ?? null]);
  },

  // A multipart form.
  async upload(client, options) {
    const file = await toFile(Buffer.alloc(options.pad, "x"), "notes.txt");
    say({ id: (await client.files.create({ file, purpose: "assistants" })).id });
  },

  async models(client) {
    const names = [];
    for await (const entry of client.models.list()) names.push(entry.id);
    say(names);
  },

  // Many questions at once.
  async together(client, options) {
    const one = async (_, index) => {
      const messages = [{ role: "user", content: String(index) }];
      const answer = await client.chat.completions.create({ model, messages });
      return answer.choices[0].message.content;
    };
    say(await Promise.all(Array.from({ length: options.times }, one)));
  },
};

await each(async (options) => {
  const client = new OpenAI(settings(options));
  try {
    await ways[options.way](client, options);
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    say({
      error: error.constructor.name,
      status: error.status ?? null,
      code: error.code ?? null,
      type: error.type ?? null,
      request_id: error.requestID ?? null,
      retry_after: error.headers?.get("retry-after") ?? null,
    });
  }
});
