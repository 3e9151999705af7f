/** An event as texts to paste elsewhere. Pure. */
import { payloadTextOf, type LogEvent } from "../api/events";
import { jsonText, parseJson } from "../api/json";
import { sentenceText, type FullSentence } from "../sentences/sentences";

export interface Copy {
  name: string;
  text: string;
  /** The shortcut beside it. */
  keys?: string;
}

/** `root` is the server's address with a slash at its end. The last four are separated from the others in the menu. */
export function copiesOf(event: LogEvent, sentence: FullSentence, root: string): { plain: Copy[]; asCode: Copy[] } {
  const link = `${root}e/${event.id}`;
  return {
    plain: [
      { name: "Link", text: link, keys: "y" },
      { name: "Event id", text: event.id },
      { name: "JSON", text: eventJson(event) },
    ],
    asCode: [
      { name: "curl", text: `curl -H "X-API-Key: $WHENCE_API_KEY" ${quoted(`${root}api/v1/events/${event.id}`)}` },
      { name: `whence why ${event.id.slice(0, 8)}`, text: `whence why ${event.id}` },
      { name: "Python", text: pythonOf(event, root) },
      { name: "Markdown", text: markdownOf(event, sentence, link) },
    ],
  };
}

/** The event with its payload as it was sent. */
export function eventJson(event: LogEvent): string {
  const { payload: _, payloadText: __, ...envelope } = event;
  const members = Object.entries(envelope).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  return `{\n${[...members, `  "payload": ${indented(payloadTextOf(event))}`].join(",\n")}\n}`;
}

function indented(payload: string): string {
  try {
    return jsonText(parseJson(payload), "  ");
  } catch {
    return payload;
  }
}

/** For a shell: in single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function pythonOf(event: LogEvent, root: string): string {
  return [
    "from whence import Whence",
    "",
    `with Whence(${JSON.stringify(root.replace(/\/$/, ""))}) as log:  # the key is in WHENCE_API_KEY`,
    `    event = log.get("${event.id}")`,
    "    print(event.event_type, event.payload)",
  ].join("\n");
}

const escaped = (text: string) => text.replace(/[\\`*_[\]<>|#]/g, "\\$&");

function markdownOf(event: LogEvent, sentence: FullSentence, link: string): string {
  return `${event.occurredAt} [${escaped(sentenceText(sentence))}](${link}) \`${event.eventType}\``;
}
