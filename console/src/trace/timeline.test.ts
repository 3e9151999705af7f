import { expect, test } from "vitest";
import { quoted } from "./blast";
import { WHOLE_VIEW } from "./entries";
import { buildGraph } from "./graph";
import { airlineTrace, madeTrace } from "./made";
import { buildRows } from "./rows";
import { escapedMarkdown, escapedMermaid, markdownTimeline, mermaidTimeline } from "./timeline";

const trace = airlineTrace();
const graph = buildGraph(trace);
const rows = buildRows(graph, trace, WHOLE_VIEW);

test("the Markdown timeline has a line for every row, and marks the selected event", () => {
  const lines = markdownTimeline(rows, graph, trace, "http://localhost/trace/1").split("\n");
  expect(lines[0]).toMatch(/^\*\*book failed: payment/);
  expect(lines).toContain("- *33 events: 17 messages · 8 calls*");
  expect(lines).toContain("- `+2:41.8` 03:06:46.791 ✗ **airline-api failed book payment amount does not add up (350 ms)**");
  expect(lines.filter((line) => line.startsWith("- ")).length).toBe(rows.length - 2);
});

test("the Mermaid flowchart leads from cause to effect, and marks failures", () => {
  const text = mermaidTimeline(rows, graph);
  expect(text).toContain("  r3[\"33 events: 17 messages · 8 calls\"]\n  r2 --> r3");
  expect(text).toContain("  class r7,r13,r19,r24 failed");
});

test("untrusted text stays text in both", () => {
  const hostile = "</script> [x](javascript:1) *b* `c` \"; A --> B\n- ![i](u) & #1";
  expect(escapedMarkdown(hostile)).toBe("&lt;/script&gt; \\[x\\](javascript:1) \\*b\\* \\`c\\` \"; A --&gt; B - !\\[i\\](u) &amp; #1");
  expect(escapedMermaid(hostile)).not.toMatch(/["<>[\]{}()|`\n]/);
  const made = madeTrace([{ label: hostile, detail: hostile, flow: hostile }]);
  const one = buildGraph(made);
  const written = mermaidTimeline(buildRows(one, made, WHOLE_VIEW), one);
  expect(written.split("\n").length).toBe(3);
});

test.each([["tau-1", "tau-1"], ["a b", '"a b"'], ['a" type:x', '"a type:x"']])("the value %s in a query is %s", (value, text) => expect(quoted(value)).toBe(text));
