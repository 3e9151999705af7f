import createClient from "openapi-fetch";
import { parseAnswer } from "./json";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** The server's root, which may lie below the root of its host; it ends with a slash. */
export const ROOT = new URL(document.baseURI).pathname;

/** The typed client. The session is a cookie that scripts cannot read, so no key is held here. */
export const api = createClient<paths>({ baseUrl: ROOT.replace(/\/$/, ""), credentials: "same-origin" });

/** What the server said instead of an answer. `status` is 0 if it could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string,
    readonly requestId: string | null,
    readonly retryAfterS: number | null,
    /** The problems of a 422: where, and what is wrong. */
    readonly problems: readonly { loc: readonly (string | number)[]; msg: string }[],
  ) {
    super(message);
    this.name = "ApiError";
  }
}

interface Answer<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

/** The data of an answer. Throws ApiError for every other one; `await data(api.GET("/api/v1/flows"))`. */
export async function data<Data>(answering: Promise<Answer<Data>>): Promise<NonNullable<Data>> {
  let answer: Answer<Data>;
  try {
    answer = await answering;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.", "unreachable", null, null, []);
  }
  if (!answer.response.ok) throw apiError(answer.response, answer.error);
  return answer.data as NonNullable<Data>;
}

/** A request that the typed client has no words for: an address below the root, and what fetch takes. */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(ROOT + path.replace(/^\//, ""), { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.", "unreachable", null, null, []);
  }
  if (!response.ok) throw apiError(response, await response.json().catch(() => null));
  return response;
}

/** The JSON that a path answers, with the text of each payload. For routes whose answer is typed by the caller. */
export async function getJson<Body>(path: string, signal?: AbortSignal): Promise<Body> {
  const response = await send(path, signal ? { signal } : {});
  return parseAnswer(await response.text()) as Body;
}

function apiError(response: Response, body: unknown): ApiError {
  const fields = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const problems = Array.isArray(fields.detail) ? (fields.detail as ApiError["problems"]) : [];
  const message =
    typeof fields.detail === "string"
      ? fields.detail
      : (problems[0]?.msg ?? `The server answered with status ${response.status}.`);
  const retryAfter = Number(response.headers.get("Retry-After"));
  return new ApiError(
    response.status,
    message,
    typeof fields.code === "string" ? fields.code : response.status === 422 ? "invalid" : "unexpected",
    response.headers.get("X-Request-Id"),
    Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : null,
    problems,
  );
}
