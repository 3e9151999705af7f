/** How to send a first event, in three languages. Pure. */

export const LANGUAGES = ["curl", "Python", "CLI"] as const;
export type Language = (typeof LANGUAGES)[number];

const RESOURCE = "497f6eca-6276-4993-bfeb-53cbbbba6f08";

/** Without a key, the text takes it from WHENCE_API_KEY. */
export function firstEvent(language: Language, root: string, key: string | null): string {
  if (language === "curl")
    return [
      "curl --json '{",
      '  "eventType": "decision.approved",',
      '  "actorType": "user", "actorId": "ana",',
      '  "resourceType": "decision",',
      `  "resourceId": "${RESOURCE}",`,
      `  "occurredAt": "'"$(date -u +%FT%TZ)"'",`,
      '  "payload": {"reason": "within the limit"}',
      `}' -H "X-API-Key: ${key ?? "$WHENCE_API_KEY"}" \\`,
      `  ${root}/api/v1/events`,
    ].join("\n");
  if (language === "Python")
    return [
      "from whence import Whence",
      "",
      `with Whence(${JSON.stringify(root)}${key === null ? "" : `, ${JSON.stringify(key)}`}) as log:`,
      "    log.emit(",
      '        "decision.approved",',
      '        actor=("user", "ana"),',
      `        resource=("decision", "${RESOURCE}"),`,
      '        payload={"reason": "within the limit"},',
      "        durable=True,",
      "    )",
    ].join("\n");
  return [
    `export WHENCE_URL=${root} WHENCE_API_KEY=${key ?? '"$WHENCE_API_KEY"'}`,
    "whence emit decision.approved \\",
    `  --actor user/ana --resource decision/${RESOURCE} \\`,
    `  --payload '{"reason": "within the limit"}'`,
  ].join("\n");
}
