import { expect, test } from "vitest";
import type { LogEvent } from "../api/events";
import { copiesOf, eventJson } from "./copies";

const EVENT: LogEvent = {
  id: "28473f38-76f9-5a41-a59b-000000000000", tenantId: "default", eventType: "action_run.failed", actorType: "automation",
  actorId: "api", resourceType: "action_run", resourceId: "r", occurredAt: "2024-05-16T06:20:48.791000Z",
  payload: { price: 1 }, payloadText: '{"price":1.0,"2":1,"1":2}', correlationId: "c", causationId: null, position: 5539,
  recordedAt: "2026-01-01T00:00:00Z", outcome: "failure",
};
const SENTENCE = {
  actor: "a*pi", verb: "failed", object: "[x](javascript:y)", detail: "", isVerb: true, isQuote: false, isFailure: true, isNamed: true, objectAlone: "",
};

test("the JSON is the event, with its payload as it was sent", () => {
  expect(JSON.parse(eventJson(EVENT))).toMatchObject({ id: EVENT.id, position: 5539, payload: { price: 1, "1": 2, "2": 1 } });
  expect(eventJson(EVENT)).toContain('"price": 1.0,\n    "2": 1,\n    "1": 2');
  expect(eventJson(EVENT)).not.toContain("payloadText");
});

test("no copy holds a key, and Markdown has one link only", () => {
  const { plain, asCode } = copiesOf(EVENT, SENTENCE, "https://log.example/base/");
  expect(plain[0]?.text).toBe(`https://log.example/base/e/${EVENT.id}`);
  expect(asCode[0]?.text).toBe(`curl -H "X-API-Key: $WHENCE_API_KEY" 'https://log.example/base/api/v1/events/${EVENT.id}'`);
  expect(asCode[3]?.text).toBe(
    `2024-05-16T06:20:48.791000Z [a\\*pi failed \\[x\\](javascript:y)](https://log.example/base/e/${EVENT.id}) \`action_run.failed\``,
  );
});
