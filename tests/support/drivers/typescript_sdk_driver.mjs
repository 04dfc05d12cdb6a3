// Does jobs with the official TypeScript SDK: `node typescript_sdk_driver.mjs JOBS.json`.
//
// A job: {op: stream | create | tool_runner | count | models, body, client?: options, headers?}. For each one line of
// JSON: {ok: true, ...} with what the SDK gave, or {ok: false, error: {...}} with what it threw.

import { readFile } from 'node:fs/promises';

const { default: Anthropic } = await import(process.env.SDK_ENTRY);

const operations = {
  async stream(client, { body, options }) {
    const events = [];
    const stream = client.messages.stream(body, options);
    stream.on('streamEvent', (event) => events.push(event.type));
    const message = await stream.finalMessage();
    return { message, events, request_id: stream.request_id };
  },
  async create(client, { body, options }) {
    const { data, request_id, response } = await client.messages.create(body, options).withResponse();
    return { message: data, request_id, headers: Object.fromEntries(response.headers) };
  },
  async tool_runner(client, { body, options }) {
    const ran = [];
    const tools = body.tools.map((tool) => ({
      ...tool,
      parse: (input) => input,
      run: async (input) => {
        ran.push({ name: tool.name, input });
        return 'the tool of the application';
      },
    }));
    const message = await client.beta.messages.toolRunner({ ...body, tools }, options);
    return { message, ran };
  },
  async count(client, { body, options }) {
    return { count: await client.messages.countTokens(body, options) };
  },
  async models(client) {
    const ids = [];
    for await (const model of client.models.list({ limit: 1 })) ids.push(model.id);
    return { ids };
  },
};

function told(error) {
  return {
    class: error.constructor.name,
    status: error.status ?? null,
    message: String(error.message),
    request_id: error.requestID ?? null,
    body: error.error ?? null,
    retry_after: error.headers?.get('retry-after') ?? null,
    api: error instanceof Anthropic.APIError,
  };
}

for (const job of JSON.parse(await readFile(process.argv[2], 'utf8'))) {
  const client = new Anthropic({
    apiKey: process.env.SDK_KEY,
    baseURL: process.env.SDK_BASE_URL,
    maxRetries: 0,
    ...job.client,
  });
  const began = performance.now();
  let outcome;
  try {
    outcome = { ok: true, ...(await operations[job.op](client, job)) };
  } catch (error) {
    outcome = { ok: false, error: told(error) };
  }
  console.log(JSON.stringify({ ...outcome, milliseconds: performance.now() - began }));
}
