// What the scripts of this directory share: what they are asked, how they print, which HTTP they speak.

import { writeSync } from "node:fs";

import { Agent, fetch } from "undici";

/** Does what the argument lists, one after the other; `together` counts its own times. */
export async function each(act) {
  for (const asked of JSON.parse(process.argv[2])) {
    const options = { times: 1, retries: 0, http2: false, pad: 0, ...asked };
    const rounds = options.way === "together" ? 1 : options.times;
    for (let round = 0; round < rounds; round++) await act(options);
  }
}

/** One line, at once: a pipe's buffer would keep it back. */
export function say(value) {
  writeSync(1, JSON.stringify(value) + "\n");
}

/** Options of an SDK. The HTTP is its own choice, or HTTP/2 where the server offers it. */
export function settings(options) {
  const http2 = { fetch, fetchOptions: { dispatcher: new Agent({ allowH2: true }) } };
  return {
    baseURL: options.base,
    apiKey: options.key,
    maxRetries: options.retries,
    timeout: 60_000,
    ...(options.http2 ? http2 : {}),
  };
}
